/** The part of the table of settings that is about the processes themselves: names, files, environment, identity. */
import { groupId, userId } from './accounts.js';
import { setting } from './setting.js';
import { envList, fileMask, flag, optionalPath, optionalText } from './validate.js';

const MECHANICS = 'Server mechanics';
const NAMING = 'Process naming';

export const PROCESS_SETTINGS = [
  setting({
    name: 'proc_name',
    key: 'procName',
    flags: ['-n', '--name'],
    section: NAMING,
    kind: optionalText('a name'),
    default: () => null,
    defaultText: 'the app',
    description: 'Name that ps and top show for the arbiter and its workers, in brackets.',
  }),
  setting({
    name: 'raw_env',
    key: 'rawEnv',
    flags: ['-e', '--env'],
    section: MECHANICS,
    kind: envList(),
    multiple: true,
    default: () => [],
    defaultText: 'none',
    description: 'Environment variable for the app, as NAME=VALUE. May be given several times.',
  }),
  setting({
    name: 'pidfile',
    key: 'pidfile',
    flags: ['-p', '--pid'],
    section: MECHANICS,
    kind: optionalPath(),
    default: () => null,
    defaultText: 'none',
    description:
      "File for the arbiter's process id; HUP writes it again where it is gone, and it is removed at the end.",
  }),
  setting({
    name: 'preload_app',
    key: 'preloadApp',
    flags: ['--preload'],
    section: MECHANICS,
    kind: flag(),
    default: () => false,
    description:
      'Load the app once, in a process of its own, before workers start and at each reload; if it does not load, none starts and a reload changes nothing. Workers load it themselves all the same: Node processes share no loaded code, so this saves no memory.',
  }),
  setting({
    name: 'daemon',
    key: 'daemon',
    flags: ['-D', '--daemon'],
    section: MECHANICS,
    kind: flag(),
    default: () => false,
    description:
      'Go to the background: the command ends, and serves on in a session of its own, without a terminal. Set --log-file, as standard error is /dev/null then.',
  }),
  setting({
    name: 'enable_stdio_inheritance',
    key: 'enableStdioInheritance',
    flags: ['-R', '--enable-stdio-inheritance'],
    section: MECHANICS,
    kind: flag(),
    default: () => false,
    description: 'With --daemon: keep standard output and error where they are no terminal.',
  }),
  setting({
    name: 'reuse_port',
    key: 'reusePort',
    flags: ['--reuse-port'],
    section: MECHANICS,
    kind: flag(),
    default: () => false,
    description:
      'Set SO_REUSEPORT on the listening sockets, so that other servers that set it, of the same user, may listen at the same port.',
  }),
  setting({
    name: 'umask',
    key: 'umask',
    flags: ['-m', '--umask'],
    section: MECHANICS,
    kind: fileMask(),
    default: () => 0,
    description: "Permissions that a unix socket's file does not get: 0o007 keeps all but its user and group out.",
  }),
  setting({
    name: 'user',
    key: 'user',
    flags: ['-u', '--user'],
    section: MECHANICS,
    kind: userId(),
    default: () => null,
    defaultText: 'the user that starts tunicorn',
    description:
      'User as whom the workers run, by name or number; unix sockets and log files are given to that user. The arbiter stays as it is.',
  }),
  setting({
    name: 'group',
    key: 'group',
    flags: ['-g', '--group'],
    section: MECHANICS,
    kind: groupId(),
    default: () => null,
    defaultText: 'the group that starts tunicorn',
    description:
      'Group as which the workers run, by name or number. They are in no other group then, unless --initgroups is set.',
  }),
  setting({
    name: 'initgroups',
    key: 'initgroups',
    flags: ['--initgroups'],
    section: MECHANICS,
    kind: flag(),
    default: () => false,
    description: 'With --user: the workers are in every group that the user is a member of, and in --group.',
  }),
] as const;
