/**
 * --reload: watches the app's files (watch-places.ts) and has the arbiter reload when one changes. It asks for that by the
 * signal that anyone would use, HUP to its own process, so a reload has one way in and one queue. Changes that come together
 * (a compiler's output, a checkout) are one reload: it waits until nothing has changed for a moment. The library, chokidar,
 * is loaded only if there is something to watch.
 */
import { relative } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { FSWatcher } from 'chokidar';
import type { Config } from '../config/settings.js';
import type { Logger } from '../log.js';
import { missingFiles, packageOf, placesOf } from './watch-places.js';

/** Nothing has changed for so long: the change is complete, ms. */
const SETTLE_MS = 100;
/** The longest that a reload waits for that, ms. */
const LONGEST_MS = 2000;
/** Time between two looks when polling, ms: gunicorn's. */
const POLL_MS = 1000;
/** The system has no more to give: watches or instances of inotify, or file descriptors. */
const USED_UP = new Set(['ENOSPC', 'EMFILE', 'ENFILE']);

/** What it depends on. */
type Wanted = Pick<Config, 'reload' | 'reloadEngine' | 'reloadExtraFiles' | 'app' | 'chdir'>;

export interface WatchOptions {
  /** The error log of now. */
  log: () => Logger;
  /** Called some time after files have changed. Default: HUP to this process. */
  onChange?: () => void;
}

export class Watch {
  readonly #log: () => Logger;
  readonly #onChange: () => void;
  #wanted: Wanted | null = null;
  #watchers: FSWatcher[] = [];
  /** Counts the starts: what an earlier one still does is of no interest. */
  #round = 0;
  /** The round whose first error has been told: others are like it, one for each file. */
  #told = 0;
  /** Paths that have changed, since `#since` (performance.now()). */
  readonly #changed = new Set<string>();
  #since = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor({ log, onChange = () => process.kill(process.pid, 'SIGHUP') }: WatchOptions) {
    this.#log = log;
    this.#onChange = onChange;
  }

  /** Watches what a config wants from now on; nothing if it has no `reload`. What goes wrong is logged. */
  follow({ reload, reloadEngine, reloadExtraFiles, app, chdir }: Config): void {
    const wanted = { reload, reloadEngine, reloadExtraFiles, app, chdir };
    if (isDeepStrictEqual(wanted, this.#wanted)) return;
    this.close();
    this.#wanted = wanted;
    if (reload) void this.#start(wanted, reloadEngine === 'poll');
  }

  /** Watches nothing any more. */
  close(): void {
    this.#wanted = null;
    this.#stop();
  }

  #stop(): void {
    this.#round++;
    clearTimeout(this.#timer);
    this.#changed.clear();
    for (const watcher of this.#watchers) void watcher.close();
    this.#watchers = [];
  }

  async #start(wanted: Wanted, usePolling: boolean): Promise<void> {
    const round = ++this.#round;
    const root = packageOf(wanted);
    try {
      const { watch } = await import('chokidar');
      if (round !== this.#round) return;
      const ready = placesOf(wanted).map(({ paths, ignored }) => {
        const watcher = watch(paths, { ignored, usePolling, interval: POLL_MS, ignoreInitial: true });
        this.#watchers.push(watcher);
        watcher.on('all', (event, path) => {
          if (event === 'add' || event === 'change' || event === 'unlink') this.#change(path, root);
        });
        watcher.on('error', (error) => this.#failed(error, round, wanted, usePolling));
        return new Promise<void>((resolve) => watcher.once('ready', resolve));
      });
      await Promise.all(ready);
      if (round !== this.#round) return;
      for (const path of missingFiles(wanted)) this.#log().warning(`There is no ${path} yet (--reload-extra-file)`);
      this.#log().info(`Watching ${root} for changes${usePolling ? ' (polling)' : ''}`);
    } catch (error) {
      if (round === this.#round) this.#log().error('Changes are not watched (--reload)', error);
    }
  }

  #failed(error: unknown, round: number, wanted: Wanted, usePolling: boolean): void {
    if (round !== this.#round) return;
    const { code = '' } = error as NodeJS.ErrnoException;
    if (wanted.reloadEngine !== 'auto' || usePolling || !USED_UP.has(code)) {
      if (this.#told !== round) this.#log().error('Not all changes are noticed (--reload)', error);
      this.#told = round;
      return;
    }
    this.#log().warning(`No inotify watches are left (${code}): looking at the files every second instead`);
    this.#stop();
    void this.#start(wanted, true);
  }

  #change(path: string, root: string): void {
    const now = performance.now();
    if (this.#changed.size === 0) this.#since = now;
    this.#changed.add(path);
    clearTimeout(this.#timer);
    const left = this.#since + LONGEST_MS - now;
    this.#timer = setTimeout(() => this.#settled(root), Math.max(0, Math.min(SETTLE_MS, left)));
  }

  #settled(root: string): void {
    const [first, ...others] = this.#changed;
    this.#changed.clear();
    const more = others.length > 0 ? ` and ${others.length} more` : '';
    this.#log().info(`Changed: ${relative(root, first)}${more}`);
    this.#onChange();
  }
}
