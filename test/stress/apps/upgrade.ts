/** A program that listens itself and echoes WebSocket messages; some of them end or block its thread. */
import { createServer } from 'node:http';
import { type WebSocket, WebSocketServer } from 'ws';
import { spin } from './echo.js';

const server = createServer((_req, res) => res.end('plain'));
const wss = new WebSocketServer({ server });
wss.on('connection', (ws: WebSocket) => {
  ws.on('error', () => {});
  ws.on('message', (data, binary) => {
    const text = String(data);
    if (text === 'exit') process.exit(1);
    else if (text === 'spin') spin(20);
    else if (text === 'stuck') spin(60_000);
    else if (text === 'close') ws.close(4000);
    else if (text === 'terminate') ws.terminate();
    else ws.send(data, { binary });
  });
});
server.listen(3000);
