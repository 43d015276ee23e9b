/** The environment that raw_env adds: the arbiter's own, so that every process it starts has it. */

/** Name and value of each NAME=VALUE. */
export function envEntries(rawEnv: readonly string[]): [name: string, value: string][] {
  return rawEnv.map((entry) => {
    const at = entry.indexOf('=');
    return [entry.slice(0, at), entry.slice(at + 1)];
  });
}

export class Environment {
  /** What was there before; undefined: nothing. */
  readonly #before = new Map<string, string | undefined>();

  /** Sets these variables, after those of an earlier call have got their old values back. */
  apply(rawEnv: readonly string[]): void {
    this.restore();
    for (const [name, value] of envEntries(rawEnv)) {
      if (!this.#before.has(name)) this.#before.set(name, process.env[name]);
      process.env[name] = value;
    }
  }

  restore(): void {
    for (const [name, value] of this.#before) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
    this.#before.clear();
  }
}
