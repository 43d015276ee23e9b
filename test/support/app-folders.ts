/** Folders with an app, for tests that start the command in them. */
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export class AppFolders {
  /** They are in it. */
  readonly root: string;
  private readonly app: string;
  private count = 0;

  /** app: the text of app.mjs in each of them. */
  constructor(name: string, app: string) {
    this.root = realpathSync(mkdtempSync(join(tmpdir(), `tunicorn-${name}-`)));
    this.app = app;
  }

  /** A new folder with the app and these files (name to text). */
  make(files: Record<string, string> = {}): string {
    const dir = join(this.root, String(this.count++));
    mkdirSync(dir);
    for (const [name, text] of Object.entries({ 'app.mjs': this.app, ...files })) writeFileSync(join(dir, name), text);
    return dir;
  }

  remove(): void {
    rmSync(this.root, { recursive: true, force: true });
  }
}
