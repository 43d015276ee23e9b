/** node:http in one process: the base of every ratio. */
import { createServer } from 'node:http';
import handler from './handler.js';

createServer(handler).listen(Number(process.env.PORT), '127.0.0.1', 511);
