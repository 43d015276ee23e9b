/**
 * The Node path: a `(req, res)` listener becomes a NodeApp. There is nothing between the engine and the listener:
 * what it throws and the promise it returns are the engine's to catch, so that a rejection counts as a throw.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { NodeApp } from './types.js';

export type NodeListener = (req: IncomingMessage, res: ServerResponse) => unknown;

/** Wraps a listener. close, if given, is called once when the thread ends in peace. */
export function nodeApp(listener: NodeListener, source: string, close?: () => unknown): NodeApp {
  const app: NodeApp = { kind: 'node', source, handle: (req, res) => listener(req, res) };
  if (close !== undefined) app.close = close;
  return app;
}
