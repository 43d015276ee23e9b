/** The part of the table of settings that is about where logs and metrics go, and in which form. */
import { FACILITIES, type Facility, metricText, optionalStatsdAddress, syslogAddress } from './log-address.js';
import { setting } from './setting.js';
import { choice, flag, optionalText } from './validate.js';

const LOGGING = 'Logging';
export const LOG_FORMATS = ['text', 'json'] as const;

export const LOG_SETTINGS = [
  setting({
    name: 'log_format',
    key: 'logFormat',
    flags: ['--log-format'],
    section: LOGGING,
    kind: choice('log format', LOG_FORMATS),
    default: () => 'text' as const,
    description: "Form of both logs: text, as gunicorn's, or json, one object in a line (docs/logging.md).",
  }),
  setting({
    name: 'capture_output',
    key: 'captureOutput',
    flags: ['--capture-output'],
    section: LOGGING,
    kind: flag(),
    default: () => false,
    description:
      'What handlers and hooks write to standard output and error (console, process.stdout) goes to the error log, in whole lines; ' +
      'where that is a file, also what native code and child processes print.',
  }),
  setting({
    name: 'syslog',
    key: 'syslog',
    flags: ['--log-syslog'],
    section: LOGGING,
    kind: flag(),
    default: () => false,
    description: 'Send the error log and the access log to syslog as well.',
  }),
  setting({
    name: 'syslog_addr',
    key: 'syslogAddr',
    flags: ['--log-syslog-to'],
    section: LOGGING,
    kind: syslogAddress(),
    default: () => 'udp://localhost:514',
    description: 'Where syslog is. A unix socket without #dgram or #stream is tried as the one, then as the other.',
  }),
  setting({
    name: 'syslog_prefix',
    key: 'syslogPrefix',
    flags: ['--log-syslog-prefix'],
    section: LOGGING,
    kind: optionalText('a name'),
    default: () => null,
    defaultText: '--name, or the name of the app',
    description: 'Program name in syslog: entries begin with tunicorn.PREFIX.error or tunicorn.PREFIX.access.',
  }),
  setting({
    name: 'syslog_facility',
    key: 'syslogFacility',
    flags: ['--log-syslog-facility'],
    section: LOGGING,
    kind: choice('facility', Object.keys(FACILITIES) as Facility[], true),
    default: () => 'user' as Facility,
    description: "Syslog's facility.",
  }),
  setting({
    name: 'disable_redirect_access_to_syslog',
    key: 'disableRedirectAccessToSyslog',
    flags: ['--disable-redirect-access-to-syslog'],
    section: LOGGING,
    kind: flag(),
    default: () => false,
    description: 'With --log-syslog: send only the error log there.',
  }),
  setting({
    name: 'statsd_host',
    key: 'statsdHost',
    flags: ['--statsd-host'],
    section: LOGGING,
    kind: optionalStatsdAddress(),
    default: () => null,
    defaultText: 'no metrics',
    description: "statsd to which metrics are sent, under gunicorn's names (docs/logging.md lists them).",
  }),
  setting({
    name: 'statsd_prefix',
    key: 'statsdPrefix',
    flags: ['--statsd-prefix'],
    section: LOGGING,
    kind: metricText('a prefix'),
    default: () => '',
    defaultText: 'none',
    description: 'Put before the name of every metric; a dot is added if it does not end with one.',
  }),
  setting({
    name: 'dogstatsd_tags',
    key: 'dogstatsdTags',
    flags: ['--dogstatsd-tags'],
    section: LOGGING,
    kind: metricText('tags'),
    default: () => '',
    defaultText: 'none',
    description: 'Tags that every metric carries, in the form of DogStatsD: tag1:value1,tag2:value2.',
  }),
  setting({
    name: 'enable_backlog_metric',
    key: 'enableBacklogMetric',
    flags: ['--enable-backlog-metric'],
    section: LOGGING,
    kind: flag(),
    default: () => false,
    description:
      'With --statsd-host: also send gunicorn.backlog, the connections that wait to be accepted at all TCP addresses, once a second.',
  }),
] as const;
