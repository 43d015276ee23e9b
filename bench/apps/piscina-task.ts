/** The handler of apps/piscina.ts, on the pool's threads. */
import { burn, echo, HELLO, LARGE } from './work.js';

export interface Job {
  url: string;
  body?: string;
}

export interface Answer {
  status: number;
  type: string;
  body: string | Uint8Array;
}

export default function task({ url, body }: Job): Answer {
  switch (url) {
    case '/':
      return { status: 200, type: 'text/plain', body: HELLO };
    case '/64k':
      return { status: 200, type: 'text/plain', body: LARGE };
    case '/cpu':
      return { status: 200, type: 'text/plain', body: burn() };
    case '/echo':
      return { status: 200, type: 'application/json', body: echo(body ?? '') };
    default:
      return { status: 404, type: 'text/plain', body: '' };
  }
}
