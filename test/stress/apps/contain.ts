/**
 * The app of the containment tests: what a handler can do wrong, by path. NOTED in the environment names a file to which
 * each request of /note that reached the handler is noted.
 */
import { appendFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { requestSignal, setRequestTimeout } from '../../../src/index.js';
import echo, { spin } from './echo.js';

const note = (text: string) => appendFileSync(process.env.NOTED!, `${text}\n`);

function endlessLoop(): never {
  while (true) {}
}

function grow(): never {
  const all: unknown[] = [];
  for (;;) all.push({ n: all.length });
}

export default function contain(req: IncomingMessage, res: ServerResponse): unknown {
  const [, mode, argument = ''] = req.url!.split('?')[0].split('/');
  switch (mode) {
    case 'loop':
      return endlessLoop();
    case 'late-loop':
      return sleep(20).then(endlessLoop);
    case 'begun-loop':
      res.write('begun');
      return setImmediate(endlessLoop);
    case 'grow':
      return grow();
    case 'reject':
      void Promise.reject(new Error('nobody catches it'));
      return void setTimeout(() => res.end('never mind'), 200);
    case 'timer-throw':
      return void setTimeout(() => {
        throw new Error('in a timer');
      }, 5);
    case 'never':
      req.on('close', () => note('close'));
      requestSignal(req).addEventListener('abort', aborted);
      return;
    case 'long':
      setRequestTimeout(req, Number(argument) / 1000);
      return void sleep(Number(req.headers['x-ms'])).then(() => res.end('done'));
    case 'long-spin':
      setRequestTimeout(req, Number(argument) / 1000);
      spin(Number(req.headers['x-ms']));
      return res.end('done');
    case 'note':
      note('handled');
      return res.end('noted');
    case 'after':
      return void sleep(Number(argument)).then(() => res.end('after a while'));
    case 'heavy':
      spin(Number(argument));
      return res.end('heavy');
    default:
      return echo(req, res);
  }
}

function aborted(this: AbortSignal): void {
  note(`aborted: ${(this.reason as Error).name}`);
}
