// The app of the differential corpus, run by node:http and by tunicorn. /name?case runs the handler `name`; what it notes goes, with
// the case's id, into a file of the thread, whose name begins as DIFFERENTIAL_LOG says: a write to a file keeps the order.
import { appendFileSync } from 'node:fs';
import { threadId } from 'node:worker_threads';
import { bodies } from './bodies.mjs';
import { lives } from './lives.mjs';
import { requests } from './requests.mjs';
import { responses } from './responses.mjs';

const handlers = { ...requests, ...responses, ...bodies, ...lives };
const file = `${process.env.DIFFERENTIAL_LOG}-${threadId}`;

const yes = (flags) =>
  Object.entries(flags)
    .filter(([, on]) => on)
    .map(([name]) => name)
    .join(' ');

/** What request and response say of themselves, short. */
function state(req, res) {
  const { writableEnded, writableFinished, headersSent, destroyed, closed, errored, socket } = res;
  return (
    (req === null
      ? ''
      : `req[${yes({ complete: req.complete, aborted: req.aborted, ended: req.readableEnded, destroyed: req.destroyed })}] `) +
    `res[${yes({ headersSent, writableEnded, writableFinished, destroyed, closed, errored, socket })}]`
  );
}

function watch(req, res, note, what) {
  const both = (name) => note(`${name}; ${state(what === 'all' ? req : null, res)}`);
  if (what === 'all') {
    for (const name of ['end', 'aborted', 'close', 'timeout']) req.on(name, () => both(`req ${name}`));
    req.on('error', (error) => both(`req error ${error.code}`));
  }
  for (const name of ['prefinish', 'finish', 'close', 'drain', 'timeout', 'pipe', 'unpipe'])
    res.on(name, () => both(`res ${name}`));
}

export default function handler(req, res) {
  const [path, id] = req.url.split('?');
  const note = (text) => appendFileSync(file, `${id} ${text}\n`);
  note.state = (text) => note(`${text}; ${state(req, res)}`);
  const how = req.headers['x-watch'] ?? 'all';
  if (how !== 'none' && how !== 'bare') watch(req, res, note, how);
  // An error that nobody hears ends node:http's process.
  if (how !== 'bare') res.on('error', (error) => note.state(`res error ${error.code}`));
  note('handler');
  const failed = (error) => {
    // node:http would end here: cases about errors are about what is thrown.
    note.state(`threw ${error.name} ${error.code}`);
    try {
      if (!res.headersSent) res.end();
    } catch (another) {
      note.state(`threw again ${another.code}`);
      res.destroy();
    }
  };
  try {
    handlers[path.slice(1)](req, res, note)?.catch?.(failed);
  } catch (error) {
    failed(error);
  }
}
