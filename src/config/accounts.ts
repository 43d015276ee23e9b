/** Users and groups by name or number, as the system knows them: /etc/passwd and /etc/group, then getent (LDAP and others). */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { InvalidValue, type Kind, show } from './validate.js';

type Database = 'passwd' | 'group';

/** The largest id; the one after it means "no change" to the kernel. */
const MAX_ID = 2 ** 32 - 2;
const GETENT_MS = 5000;

/** Number of the entry `name`, which is the third field of its line in both databases. */
function find(database: Database, name: string): number | null {
  const idIn = (text: string) => {
    const line = text.split('\n').find((l) => l.startsWith(`${name}:`));
    return line === undefined ? null : Number(line.split(':')[2]);
  };
  let text = '';
  try {
    text = readFileSync(`/etc/${database}`, 'utf8');
  } catch {
    // An image without accounts.
  }
  return (
    idIn(text) ?? idIn(spawnSync('getent', [database, name], { encoding: 'utf8', timeout: GETENT_MS }).stdout ?? '')
  );
}

function account(database: Database, what: string): Kind<number | null> {
  return {
    meta: what.toUpperCase(),
    unit: '',
    range: `a ${what} of this system, by name or number`,
    parse(value) {
      if (value === null) return null;
      const id = typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : value;
      if (typeof id === 'number' && Number.isInteger(id) && id >= 0 && id <= MAX_ID) return id;
      const name = typeof id === 'string' && /^[^\s:-][^\s:]*$/.test(id) ? id : null;
      const found = name === null ? null : find(database, name);
      if (found === null) throw new InvalidValue(`${show(value)} is not a ${what} of this system`);
      return found;
    },
  };
}

/** A user's id, given as a number or a name; null: no other one. */
export function userId(): Kind<number | null> {
  return account('passwd', 'user');
}

/** A group's id, given as a number or a name; null: no other one. */
export function groupId(): Kind<number | null> {
  return account('group', 'group');
}
