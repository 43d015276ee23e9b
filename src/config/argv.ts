/**
 * The command line, made from the table of settings with commander: flags, --help, --version. $TUNICORN_CMD_ARGS is read the
 * same way, as a layer below it. commander's own messages are kept where they are good (unknown option with the nearest
 * name, missing value) and everything ends in a TunicornError; nothing here writes to a stream or ends the process.
 */
import { Command as Commander, CommanderError, Help, Option } from 'commander';
import { version } from '../version.js';
import { COMMAND_OPTIONS, type CommandOptionName } from './command-options.js';
import { type RawValue, usageError, type Values } from './config.js';
import { explainFlag } from './names.js';
import { type Env, type Setting, settingList } from './settings.js';
import { hint, InvalidValue } from './validate.js';
import { splitWords } from './words.js';

/** What a command line, together with $TUNICORN_CMD_ARGS, asks for. */
export interface Command {
  /** Settings, the weakest layer first. */
  layers: readonly Values[];
  /** --config; null: the usual file, if there is one. */
  config: string | null;
  /** --check-config */
  check: boolean;
  /** --print-config */
  print: boolean;
}

/** A command, or only a text to print (--help, --version). */
export type Invocation = Command | { text: string };

/** The variable with more arguments, weaker than those of the command line (gunicorn: GUNICORN_CMD_ARGS). */
const ARGS_VARIABLE = 'TUNICORN_CMD_ARGS';

/** One command line, read. */
interface Arguments {
  values: Map<string, RawValue>;
  options: Map<CommandOptionName, string>;
  /** What comes before the name of a flag in messages: '' or '$TUNICORN_CMD_ARGS: '. */
  prefix: string;
}

/** '-w, --workers <INT>'; [INT] where the value may be left out; one without a placeholder takes no value. */
function flagsText(flags: readonly string[], meta: string, bare = false): string {
  return meta === '' ? flags.join(', ') : `${flags.join(', ')} ${bare ? `[${meta}]` : `<${meta}>`}`;
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
function addSetting(program: Commander, setting: Setting, { values: raw, prefix }: Arguments): void {
  const short = setting.flags.filter((f) => !f.startsWith('--'));
  const long = setting.flags.filter((f) => f.startsWith('--'));
  const spellings = [...long, ...(setting.hiddenFlags ?? [])];
  for (const [i, flag] of spellings.entries()) {
    const option = new Option(
      flagsText(i === 0 ? [...short, flag] : [flag], setting.kind.meta, setting.bare !== undefined),
    );
    option.description = i === 0 ? describe(setting) : '';
    if (i > 0) option.hideHelp();
    if (option.isBoolean() || option.negate) option.preset(option.negate ? 'false' : 'true');
    if (setting.bare !== undefined) option.preset(setting.bare);
    option.argParser((value: string) => {
      const before = raw.get(setting.key);
      const list = setting.multiple && before ? [...(before.value as string[]), value] : [value];
      raw.set(setting.key, { value: setting.multiple ? list : value, source: `${prefix}${flag}` });
      return value;
    });
    if (i === 0) option.helpGroup(`${setting.section}:`);
    program.addOption(option);
  }
}

function addCommandOptions(program: Commander, { options }: Arguments): void {
  for (const { name, flags, meta, section, description } of COMMAND_OPTIONS) {
    const option = new Option(flagsText(flags, meta), description).helpGroup(`${section}:`);
    if (option.isBoolean()) option.preset('true');
    option.argParser((value: string) => {
      options.set(name, value);
      return value;
    });
    program.addOption(option);
  }
}

function makeProgram(args: Arguments): Commander {
  const program = new Commander('tunicorn');
  program
    .usage('[options] [APP]')
    .description(
      "Serves a Node.js web app with worker processes and threads.\nAPP is a file or module, and what to take from it: app.js, app:handler, 'app:create()', server.js:3000.",
    )
    .argument('[app]', 'the app to serve')
    .allowExcessArguments(true)
    .exitOverride()
    .configureOutput({ writeOut: () => {}, writeErr: () => {} })
    .configureHelp({ helpWidth: 100, visibleArguments: () => [] })
    .helpOption('-h, --help', 'Print this help and exit.')
    .version(`tunicorn (version ${version})`, '-v, --version', 'Print the version and exit.');
  addCommandOptions(program, args);
  for (const setting of settingList) addSetting(program, setting, args);
  return program;
}

function noArguments(prefix = ''): Arguments {
  return { values: new Map(), options: new Map(), prefix };
}

/** The text of --help. */
export function helpText(): string {
  const program = makeProgram(noArguments());
  // Shown flags carry the aliases (`--error-logfile, --log-file`), which commander keeps as separate options.
  const shown = new Map(settingList.map((s) => [s.flags.find((f) => f.startsWith('--')), s]));
  const plain = new Help();
  program.configureHelp({
    helpWidth: 100,
    visibleArguments: () => [],
    optionTerm: (option) => {
      const setting = shown.get(option.long ?? '');
      return setting
        ? flagsText(setting.flags, setting.kind.meta, setting.bare !== undefined)
        : plain.optionTerm(option);
    },
  });
  return program.helpInformation();
}

/** All flags, with what a value of theirs is called; '' = they take none. */
const FLAGS = [...settingList.map(({ flags, kind, bare }) => ({ flags, meta: kind.meta, bare })), ...COMMAND_OPTIONS];
const LONG_FLAGS = FLAGS.flatMap(({ flags }) => flags.filter((flag) => flag.startsWith('--')));
/** The first long spelling of each short flag. */
const LONG = new Map(
  FLAGS.flatMap(({ flags }) => flags.filter((flag) => /^-\w$/.test(flag)).map((flag) => [flag, longOf(flags)])),
);
/** Flags behind which the next word is a value, whatever it looks like. */
const VALUED = new Set(FLAGS.flatMap((o) => (o.meta === '' || ('bare' in o && o.bare !== undefined) ? [] : o.flags)));

function longOf(flags: readonly string[]): string {
  return flags.find((flag) => flag.startsWith('--')) as string;
}

/** Spells -w=4 out, which argparse takes and commander does not: --workers=4. */
function spellOut(argv: readonly string[]): string[] {
  const words: string[] = [];
  for (let i = 0; i < argv.length; i++) {
    if (argv[i] === '--') return [...words, ...argv.slice(i)];
    const [, short, value] = /^(-\w)=(.*)$/s.exec(argv[i]) ?? [];
    const long = LONG.get(short);
    words.push(long === undefined ? argv[i] : `${long}=${value}`);
    if (VALUED.has(argv[i]) && i + 1 < argv.length) words.push(argv[++i]);
  }
  return words;
}

/** commander's message in our words. */
function explain(err: CommanderError): string {
  const [, flag] = (err.code === 'commander.unknownOption' && /unknown option '([^'=]+)/.exec(err.message)) || [];
  if (flag === undefined) return err.message.replace(/^error: /, '');
  if (LONG_FLAGS.includes(flag)) return `option '${flag}' takes no value`;
  return explainFlag(flag) ?? `unknown option '${flag}'${hint(flag, LONG_FLAGS)}`;
}

function parse(argv: readonly string[], prefix: string): Arguments | { text: string } {
  const args = noArguments(prefix);
  const program = makeProgram(args);
  try {
    program.parse(spellOut(argv), { from: 'user' });
  } catch (err) {
    if (!(err instanceof CommanderError)) throw err;
    if (err.code === 'commander.helpDisplayed') return { text: helpText() };
    if (err.code === 'commander.version') return { text: `tunicorn (version ${version})\n` };
    throw usageError(`${prefix}${explain(err)}`);
  }
  const { args: words } = program;
  if (words.length > 1) {
    throw usageError(`${prefix}one app is expected, but ${words.length} arguments were given: ${words.join(' ')}`);
  }
  if (words.length === 1) args.values.set('app', { value: words[0], source: `${prefix}APP` });
  return args;
}

function parseVariable(text: string): Arguments | { text: string } {
  const prefix = `$${ARGS_VARIABLE}: `;
  try {
    return parse(splitWords(text), prefix);
  } catch (err) {
    if (err instanceof InvalidValue) throw usageError(`${prefix}${err.message}`);
    throw err;
  }
}

/**
 * Reads a command line (without the program's name) and $TUNICORN_CMD_ARGS. Values are checked later (buildConfig).
 * @throws {TunicornError} ERR_TUNICORN_CONFIG, exit status 2: unknown flag, missing value, more than one app.
 */
export function readCommand(argv: readonly string[], env: Env = process.env): Invocation {
  const line = parse(argv, '');
  if ('text' in line) return line;
  const more = parseVariable(env[ARGS_VARIABLE] ?? '');
  if ('text' in more) return more;
  return {
    layers: [more.values, line.values],
    config: line.options.get('config') ?? more.options.get('config') ?? null,
    check: line.options.has('check_config') || more.options.has('check_config'),
    print: line.options.has('print_config') || more.options.has('print_config'),
  };
}
