/**
 * How this process was started, noted before anything can change it: what USR2 starts again. The folder keeps the name by which
 * the shell knows it, so that a symbolic link to the present release is followed anew.
 */
import { currentFolder } from './config/folders.js';

export interface Origin {
  readonly env: Readonly<NodeJS.ProcessEnv>;
  readonly cwd: string;
  /** Arguments of node: its flags, the script, the script's own. */
  readonly args: readonly string[];
}

export const origin: Origin = {
  env: { ...process.env },
  cwd: currentFolder(),
  args: [...process.execArgv, ...process.argv.slice(1)],
};
