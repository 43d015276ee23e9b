/** The part of the table of settings that is about --reload: taking up the app's code when its files change. */
import { setting } from './setting.js';
import { choice, flag, InvalidValue, type Kind, show } from './validate.js';

export const RELOAD_ENGINES = ['auto', 'poll', 'inotify'] as const;

const DEBUGGING = 'Debugging';

/** Files, folders or patterns: a list, or one. Relative ones start in `chdir`. */
function paths(): Kind<string[]> {
  return {
    meta: 'FILE',
    unit: '',
    range: 'files, folders, or patterns with *, ?, [] and **',
    parse(value) {
      return (Array.isArray(value) ? value : [value]).map((path) => {
        if (typeof path === 'string' && path !== '' && !path.includes('\0')) return path;
        throw new InvalidValue(`${show(path)} is not a path`);
      });
    },
  };
}

export const RELOAD_SETTINGS = [
  setting({
    name: 'reload',
    key: 'reload',
    flags: ['--reload'],
    section: DEBUGGING,
    kind: flag(),
    default: () => false,
    description:
      "For development: do as at HUP when code changes. Watched are the files with code (.js, .mjs, .cjs, .ts, .jsx, .wasm and the like) in the app's package, which is the nearest folder with a package.json from the app's file up to --chdir, or else the file's own folder; not node_modules, nor folders that begin with a dot. An app that does not load changes nothing: its error is in the log, and the old code goes on.",
  }),
  setting({
    name: 'reload_engine',
    key: 'reloadEngine',
    flags: ['--reload-engine'],
    section: DEBUGGING,
    kind: choice('reload engine', RELOAD_ENGINES),
    default: () => 'auto' as const,
    description:
      'How --reload notices changes: inotify by events of the kernel, poll by a look at every file each second (for network drives and folders shared with a virtual machine), auto by inotify, or by polling where its watches are used up.',
  }),
  setting({
    name: 'reload_extra_files',
    key: 'reloadExtraFiles',
    flags: ['--reload-extra-file'],
    section: DEBUGGING,
    kind: paths(),
    multiple: true,
    default: () => [],
    defaultText: 'none',
    description:
      'What --reload watches besides: files (templates, JSON), whole folders, patterns; what a pattern matches later counts too.',
  }),
] as const;
