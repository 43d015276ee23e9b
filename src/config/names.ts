/**
 * Names as people write them: gunicorn's snake_case, camelCase, or an alias, for settings and hooks. What is none of ours
 * gets the reason if gunicorn has it, and else the nearest name.
 */
import { COMMAND_OPTIONS } from './command-options.js';
import { HOOKS, type HookEntry } from './hooks.js';
import { ABSENT } from './python-only.js';
import type { Setting } from './setting.js';
import { settingList } from './settings.js';
import { hint, show } from './validate.js';

export type Named = { setting: Setting } | { hook: HookEntry };

/** 'worker_class' for 'workerClass'; a name in snake_case stays. */
export function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

function camelCase(name: string): string {
  return name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

const known = new Map<string, Named>([
  ...settingList.flatMap((s) => [s.name, ...(s.aliases ?? [])].map((name) => [name, { setting: s }] as const)),
  ...HOOKS.map((hook) => [hook.name, { hook }] as const),
]);

/** What a name means, in either spelling; undefined if it is neither a setting nor a hook. */
export function lookUp(name: string): Named | undefined {
  return known.get(snakeCase(name));
}

/** Says why a name that lookUp() does not know is refused. */
export function explainUnknown(name: string): string {
  const plain = snakeCase(name);
  const option = COMMAND_OPTIONS.find((o) => o.name === plain);
  if (option) return `${show(name)} is for the command line alone: ${option.flags.at(-1)}`;
  const why = ABSENT.find((a) => a.name === plain)?.why;
  if (why !== undefined) return `gunicorn's setting ${show(name)} does not exist here. ${why}`;
  // The hint has the spelling of the wrong name.
  const spelt = (n: string) => (name.includes('_') ? n : camelCase(n));
  // It may be what the setting is called on the command line.
  const flag = `--${plain.replaceAll('_', '-')}`;
  const meant = settingList.find(({ flags, hiddenFlags = [] }) => [...flags, ...hiddenFlags].includes(flag));
  if (meant !== undefined) return `unknown setting ${show(name)} (did you mean ${spelt(meant.name)}?)`;
  return `unknown setting ${show(name)}${hint(name, [...known.keys()].map(spelt))}`;
}

/** Why gunicorn's flag does not exist here; undefined if it is not one of those. */
export function explainFlag(flag: string): string | undefined {
  const found = ABSENT.find((a) => a.flags.includes(flag));
  return found && `gunicorn's option '${flag}' does not exist here. ${found.why}`;
}
