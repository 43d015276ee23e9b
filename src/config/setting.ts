/** The shape of one entry of the table of settings (settings.ts), and the helper that keeps an entry's types. */
import type { Kind } from './validate.js';

export type Env = Readonly<Record<string, string | undefined>>;

/** One entry of the table. K: its key on Config; T: the type of its value there. */
export interface Setting<K extends string = string, T = unknown> {
  /** gunicorn's name, snake_case. */
  readonly name: string;
  /** The same in camelCase. */
  readonly key: K;
  /** Other names that a configuration file may use. */
  readonly aliases?: readonly string[];
  /** Command line flags; the first long one is the one that messages use. None: the setting has no flag. */
  readonly flags: readonly string[];
  /** Other spellings that are accepted but not shown. */
  readonly hiddenFlags?: readonly string[];
  readonly section: string;
  /** How values are read; has the unit and the range. */
  readonly kind: Kind<T>;
  /** May be given several times on the command line. */
  readonly multiple?: boolean;
  readonly default: () => T;
  /** The default in words, where it depends on the machine. */
  readonly defaultText?: string;
  /** What the flag means without a value; without this it needs one. */
  readonly bare?: string;
  /** A value that the environment gives in place of the default, raw. empty: an empty one counts too. */
  readonly env?: { readonly variable: string; readonly value: (raw: string) => string; readonly empty?: boolean };
  readonly description: string;
}

/** Keeps K and T of an entry as they are written. */
export function setting<const K extends string, T>(entry: Setting<K, T>): Setting<K, T> {
  return entry;
}
