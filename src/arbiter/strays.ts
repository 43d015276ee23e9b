/**
 * Children of this process that nobody here has started: what a shell had in the background before its `exec tunicorn`, and, for
 * process 1 of a container, whatever lost its parent. Node waits for its own children only; these would stay as zombies for ever.
 * One that Node knows is waited for as soon as it has ended: so a zombie that is still there at later looks is nobody's.
 */
import { readFileSync } from 'node:fs';
import { native } from '../native/binding.js';
import { now } from './worker-handle.js';

/** ms between two looks, and at how many a zombie has to be there. */
const LOOK_MS = 500;
const LOOKS = 3;

export class Strays {
  /** A child has ended since the last look. */
  #news = false;
  /** Zombies, and at how many looks they were there. */
  #seen = new Map<number, number>();
  #lookedAt = 0;
  readonly #onChild = (): void => {
    this.#news = true;
  };

  install(): void {
    process.on('SIGCHLD', this.#onChild);
    // There may be some already.
    this.#news = true;
  }

  uninstall(): void {
    process.removeListener('SIGCHLD', this.#onChild);
  }

  /** To be called every second or so. @returns the pids that were nobody's and are gone now. */
  reap(): number[] {
    if ((!this.#news && this.#seen.size === 0) || now() - this.#lookedAt < LOOK_MS) return [];
    this.#news = false;
    this.#lookedAt = now();
    const before = this.#seen;
    this.#seen = new Map(zombies().map((pid) => [pid, (before.get(pid) ?? 0) + 1]));
    const gone: number[] = [];
    for (const [pid, looks] of this.#seen) {
      if (looks < LOOKS || native.reap(pid) <= 0) continue;
      this.#seen.delete(pid);
      gone.push(pid);
    }
    return gone;
  }
}

/** Children of this process that have ended and are not waited for. None where /proc does not tell. */
function zombies(): number[] {
  try {
    const children = readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').trim().split(' ');
    return children.filter((pid) => pid !== '' && isZombie(pid)).map(Number);
  } catch {
    return [];
  }
}

function isZombie(pid: string): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat[stat.lastIndexOf(')') + 2] === 'Z';
  } catch {
    return false;
  }
}
