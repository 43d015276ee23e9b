/** The part of the table of settings that is about the processes themselves: names, files, environment, identity. */
import { setting } from './setting.js';
import { envList, optionalPath, optionalText } from './validate.js';

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
    description: "File for the arbiter's process id; it is removed at the end.",
  }),
] as const;
