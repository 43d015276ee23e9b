/** The heavy request's work on a piscina thread. */
export { heavy as default } from './work.js';
