/** The text of --print-config: every setting and hook, sorted by name, with its value and where that came from. */
import { HOOKS } from './hooks.js';
import type { Loaded } from './load.js';
import { type SettingKey, settingList } from './settings.js';

/** Lines `name = value  # source`; values as JSON, hooks by name. */
export function formatConfig({ config, hooks, sources, file }: Loaded): string {
  const rows = settingList.map(({ name, key }) => ({
    name,
    value: JSON.stringify(config[key as SettingKey]),
    source: sources.get(key as SettingKey) ?? '',
  }));
  for (const { name, key } of HOOKS) {
    const hook = hooks[key];
    if (hook) rows.push({ name, value: `<${hook.name || 'function'}()>`, source: `${file}: ${name}` });
  }
  rows.sort((a, b) => (a.name < b.name ? -1 : 1));
  const wide = Math.max(...rows.map((row) => row.name.length));
  return rows.map(({ name, value, source }) => `${name.padEnd(wide)} = ${value}  # ${source}\n`).join('');
}
