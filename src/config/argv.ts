/**
 * The command line, made from the table of settings with commander: flags, --help, --version. commander's own messages
 * are kept where they are good (unknown option with the nearest name, missing value) and everything ends in a
 * TunicornError; nothing here writes to a stream or ends the process.
 */
import { Command, CommanderError, Help, Option } from 'commander';
import { version } from '../version.js';
import { buildConfig, type RawValue, usageError } from './config.js';
import { type Config, type Env, type Setting, settingList } from './settings.js';

/** What the command line asks for: to run, or only to print something. */
export type Invocation = { run: Config } | { print: string };

/** '-w, --workers <INT>'; one without a placeholder takes no value. */
function flagsText(flags: readonly string[], meta: string): string {
  return meta === '' ? flags.join(', ') : `${flags.join(', ')} <${meta}>`;
}

/** Help text of a setting: description, range and default. */
function describe(setting: Setting): string {
  const { range, unit } = setting.kind;
  const value = setting.defaultText ?? String(setting.default());
  const from = setting.env ? `, or from $${setting.env.variable}` : '';
  const accepts = range && ` [${range}${unit && ` ${unit}`}]`;
  return `${setting.description}${accepts} (default: ${value}${from})`;
}

/** Joins the long flags of a setting that commander would otherwise take as one option with two names. */
function addSetting(program: Command, setting: Setting, raw: Map<string, RawValue>): void {
  const short = setting.flags.filter((f) => !f.startsWith('--'));
  const long = setting.flags.filter((f) => f.startsWith('--'));
  const spellings = [...long, ...(setting.hiddenFlags ?? [])];
  for (const [i, flag] of spellings.entries()) {
    const option = new Option(flagsText(i === 0 ? [...short, flag] : [flag], setting.kind.meta));
    option.description = i === 0 ? describe(setting) : '';
    if (i > 0) option.hideHelp();
    if (option.isBoolean() || option.negate) option.preset(option.negate ? 'false' : 'true');
    option.argParser((value: string) => {
      const before = raw.get(setting.key);
      const list = setting.multiple && before ? [...(before.value as string[]), value] : [value];
      raw.set(setting.key, { value: setting.multiple ? list : value, source: flag });
      return value;
    });
    if (i === 0) option.helpGroup(`${setting.section}:`);
    program.addOption(option);
  }
}

function makeProgram(raw: Map<string, RawValue>): Command {
  const program = new Command('tunicorn');
  program
    .usage('[options] APP')
    .description(
      "Serves a Node.js web app with worker processes and threads.\nAPP is a file or module, and what to take from it: app.js, app:handler, 'app:create()'.",
    )
    .argument('[app]', 'the app to serve')
    .allowExcessArguments(true)
    .exitOverride()
    .configureOutput({ writeOut: () => {}, writeErr: () => {} })
    .configureHelp({ helpWidth: 100, visibleArguments: () => [] })
    .helpOption('-h, --help', 'Print this help and exit.')
    .version(`tunicorn (version ${version})`, '-v, --version', 'Print the version and exit.');
  for (const setting of settingList) addSetting(program, setting, raw);
  return program;
}

/** The text of --help. */
export function helpText(): string {
  const program = makeProgram(new Map());
  // Shown flags carry the aliases (`--error-logfile, --log-file`), which commander keeps as separate options.
  const shown = new Map(settingList.map((s) => [s.flags.find((f) => f.startsWith('--')), s]));
  const plain = new Help();
  program.configureHelp({
    helpWidth: 100,
    visibleArguments: () => [],
    optionTerm: (option) => {
      const setting = shown.get(option.long ?? '');
      return setting ? flagsText(setting.flags, setting.kind.meta) : plain.optionTerm(option);
    },
  });
  return program.helpInformation();
}

/**
 * Reads a command line (without the program's name).
 * @throws {TunicornError} ERR_TUNICORN_CONFIG, exit status 2: unknown flag, missing or refused value, no app.
 */
export function parseArgv(argv: readonly string[], env: Env = process.env): Invocation {
  const raw = new Map<string, RawValue>();
  const program = makeProgram(raw);
  try {
    program.parse([...argv], { from: 'user' });
  } catch (err) {
    if (!(err instanceof CommanderError)) throw err;
    if (err.code === 'commander.helpDisplayed') return { print: helpText() };
    if (err.code === 'commander.version') return { print: `tunicorn (version ${version})\n` };
    throw usageError(err.message.replace(/^error: /, '').replace(/\n\(Did you mean (.*)\?\)$/s, ' (did you mean $1?)'));
  }
  if (program.args.length > 1) {
    throw usageError(`one app is expected, but ${program.args.length} arguments were given: ${program.args.join(' ')}`);
  }
  return { run: buildConfig(program.args[0], raw, env) };
}
