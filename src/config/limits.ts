/** The part of the table of settings that bounds what a client may send, and how slowly. */
import { setting } from './setting.js';
import { integer, seconds } from './validate.js';

const LIMITS = 'Limits on requests';

export const LIMIT_SETTINGS = [
  setting({
    name: 'header_timeout',
    key: 'headerTimeout',
    flags: ['--header-timeout'],
    section: LIMITS,
    kind: seconds(),
    default: () => 10,
    description: 'Time a client may take to send a whole request head, from its first byte. 0: no limit.',
  }),
  setting({
    name: 'body_timeout',
    key: 'bodyTimeout',
    flags: ['--body-timeout'],
    section: LIMITS,
    kind: seconds(),
    default: () => 30,
    description: 'Longest pause between two pieces of a request body; then 408. 0: no limit.',
  }),
  setting({
    name: 'body_min_rate',
    key: 'bodyMinRate',
    flags: ['--body-min-rate'],
    section: LIMITS,
    kind: integer(0, 1_000_000_000, 'bytes/s'),
    default: () => 240,
    description:
      'Least average rate of a request body, once --body-timeout has been spent waiting for it; then 408. Time in which the handler does not read is not counted, and a request whose response has begun is let be. 0: no limit.',
  }),
  setting({
    name: 'send_timeout',
    key: 'sendTimeout',
    flags: ['--send-timeout'],
    section: LIMITS,
    kind: seconds(),
    default: () => 30,
    description:
      'Longest time in which a client takes nothing of a response that waits for it; then the connection is closed. 0: no limit.',
  }),
  setting({
    name: 'limit_request_line',
    key: 'limitRequestLine',
    flags: ['--limit-request-line'],
    section: LIMITS,
    kind: integer(0, 8190, 'bytes'),
    default: () => 4094,
    description: 'Longest request line (method, URL and version); longer ones get 414. 0: no limit.',
  }),
  setting({
    name: 'limit_request_fields',
    key: 'limitRequestFields',
    flags: ['--limit-request-fields'],
    section: LIMITS,
    kind: integer(1, 32_768, 'fields'),
    default: () => 100,
    description: 'Most header fields in a request; more get 431.',
  }),
  setting({
    name: 'limit_request_field_size',
    key: 'limitRequestFieldSize',
    flags: ['--limit-request-field_size'],
    hiddenFlags: ['--limit-request-field-size'],
    section: LIMITS,
    kind: integer(0, 1_048_576, 'bytes'),
    default: () => 8190,
    description: 'Longest header field, name and value together; longer ones get 431. 0: no limit.',
  }),
];
