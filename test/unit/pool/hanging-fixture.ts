/** An app that never finishes loading unless the file is there that the environment names. */
import { existsSync } from 'node:fs';

while (!existsSync(process.env.HANGS_UNLESS!));

export { default } from './app-fixture.js';
