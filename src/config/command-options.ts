/** Options of the command itself, as gunicorn has them: they say where settings come from and what to do with them. */
export interface CommandOption {
  readonly name: string;
  readonly flags: readonly string[];
  /** Placeholder of its value in --help, '' if it takes none. */
  readonly meta: string;
  readonly section: string;
  readonly description: string;
}

const FILE = 'Configuration file';
const DEBUGGING = 'Debugging';

export const COMMAND_OPTIONS = [
  {
    name: 'config',
    flags: ['-c', '--config'],
    meta: 'PATH',
    section: FILE,
    description:
      'Configuration file: PATH or file:PATH (default: tunicorn.conf.js, .mjs, .cjs or .ts in the current folder, if there is one).',
  },
  {
    name: 'check_config',
    flags: ['--check-config'],
    meta: '',
    section: DEBUGGING,
    description: 'Check the settings, load the app once and exit: status 0 if all is well.',
  },
  {
    name: 'print_config',
    flags: ['--print-config'],
    meta: '',
    section: DEBUGGING,
    description: 'Print every setting with its value and where it comes from, then do as --check-config.',
  },
] as const satisfies readonly CommandOption[];

export type CommandOptionName = (typeof COMMAND_OPTIONS)[number]['name'];
