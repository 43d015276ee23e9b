// Writes docs/settings.md from the tables of settings: `npm run docs`, which builds first.
import { writeFileSync } from 'node:fs';
import { settingsReference } from '../dist/src/config/reference.js';

writeFileSync(new URL('settings.md', import.meta.url), settingsReference());
