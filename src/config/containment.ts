/** The part of the table of settings that is about heavy and stuck requests, and about health: ours alone (docs/containment.md). */
import { setting } from './setting.js';
import { addresses, headerName, integer, seconds, urlPath } from './validate.js';

const CONTAINMENT = 'Containment of heavy and stuck requests (gthread)';
const HEALTH = 'Health checks';

export const CONTAINMENT_SETTINGS = [
  setting({
    name: 'timeout_grace',
    key: 'timeoutGrace',
    flags: ['--timeout-grace'],
    section: CONTAINMENT,
    kind: seconds(),
    default: () => 0.25,
    description:
      'Time that a request past --timeout has to stop by itself (its signal is aborted) before its stuck thread is ended.',
  }),
  setting({
    name: 'kill_on_disconnect',
    key: 'killOnDisconnect',
    flags: ['--kill-on-disconnect'],
    section: CONTAINMENT,
    kind: seconds(),
    default: () => 0,
    description:
      'Time after which a thread stuck in a request whose client has left is ended. 0: only --timeout ends it.',
  }),
  setting({
    name: 'thread_memory',
    key: 'threadMemory',
    flags: ['--thread-memory'],
    section: CONTAINMENT,
    kind: integer(0, 1_048_576, 'MiB'),
    default: () => 0,
    description:
      "Most memory that one thread's JavaScript heap may take; a thread that outgrows it is ended and its client gets 503. 0: what V8 allows.",
  }),
  setting({
    name: 'thread_max_memory',
    key: 'threadMaxMemory',
    flags: ['--thread-max-memory'],
    section: CONTAINMENT,
    kind: integer(0, 1_048_576, 'MiB'),
    default: () => 0,
    description:
      'Memory (heap and buffers) from which a thread is replaced by a fresh one when it is idle, without losing a request. 0: never.',
  }),
  setting({
    name: 'reserve_threads',
    key: 'reserveThreads',
    flags: ['--reserve-threads'],
    section: CONTAINMENT,
    kind: integer(0, 511, 'threads'),
    default: () => 1,
    description:
      'Threads that requests expected to be heavy never take, so that a light one always finds a thread. Heavy ones have at least one.',
  }),
  setting({
    name: 'thread_concurrency',
    key: 'threadConcurrency',
    flags: ['--thread-concurrency'],
    section: CONTAINMENT,
    kind: integer(0, 1_000_000, 'requests'),
    default: () => 0,
    description:
      'Requests that one thread may have in hand while their handlers await, or wait for their clients; idle threads come first. 0: no limit but --worker-connections.',
  }),
  setting({
    name: 'max_queue',
    key: 'maxQueue',
    flags: ['--max-queue'],
    section: CONTAINMENT,
    kind: integer(0, 1_000_000, 'requests'),
    default: () => 0,
    description: 'Most requests that may wait for a thread; more get 503 with Retry-After at once. 0: no limit.',
  }),
  setting({
    name: 'queue_timeout',
    key: 'queueTimeout',
    flags: ['--queue-timeout'],
    section: CONTAINMENT,
    kind: seconds(),
    default: () => 30,
    description: 'Longest that a request may wait for a thread; then it gets 503 with Retry-After. 0: no limit.',
  }),
  setting({
    name: 'deadline_header',
    key: 'deadlineHeader',
    flags: ['--deadline-header'],
    section: CONTAINMENT,
    kind: headerName(),
    default: () => 'x-envoy-expected-rq-timeout-ms',
    description:
      'Header in which a client or proxy says for how many ms it will wait: limits --timeout and --queue-timeout for its request. Empty: none.',
  }),
  setting({
    name: 'fence_kills',
    key: 'fenceKills',
    flags: ['--fence-kills'],
    section: CONTAINMENT,
    kind: integer(0, 1_000_000, 'threads'),
    default: () => 0,
    description:
      'A route that ended this many threads within --fence-window is answered 503 for --fence-time. 0: never.',
  }),
  setting({
    name: 'fence_window',
    key: 'fenceWindow',
    flags: ['--fence-window'],
    section: CONTAINMENT,
    kind: seconds(),
    default: () => 30,
    description: 'Time within which --fence-kills counts.',
  }),
  setting({
    name: 'fence_time',
    key: 'fenceTime',
    flags: ['--fence-time'],
    section: CONTAINMENT,
    kind: seconds(),
    default: () => 30,
    description: 'How long a fenced route is answered 503.',
  }),
  setting({
    name: 'status_bind',
    key: 'statusBind',
    flags: ['--status-bind'],
    section: HEALTH,
    kind: addresses(0),
    multiple: true,
    default: () => [],
    defaultText: 'none',
    description:
      "Address at which a worker's main thread answers, whatever its threads do: /live, /ready, and / with its state as JSON. May be given several times. Not for the public.",
  }),
  setting({
    name: 'health_path',
    key: 'healthPath',
    flags: ['--health-path'],
    section: HEALTH,
    kind: urlPath(),
    default: () => '',
    defaultText: 'none',
    description:
      'Path that is answered in place of the app at the usual addresses: 200 if the worker is ready for requests, otherwise 503; with /live behind it always 200.',
  }),
];
