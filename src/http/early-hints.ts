/**
 * Node's writeEarlyHints() up to 20.x sends the names and values of hints other than `link` as they are: CR LF in one of them
 * would be a response of somebody else's. Frameworks give responses other prototypes, which all lead to ServerResponse's, so
 * the check stands there.
 */
import { ServerResponse, validateHeaderName, validateHeaderValue } from 'node:http';

const { prototype } = ServerResponse;
const nodes = prototype.writeEarlyHints;

/** Throws ERR_INVALID_HTTP_TOKEN or ERR_INVALID_CHAR, as setHeader() does, before a byte is sent. */
prototype.writeEarlyHints = function writeEarlyHints(this: ServerResponse, hints, callback): void {
  if (typeof hints === 'object' && hints !== null) {
    for (const [name, value] of Object.entries(hints)) {
      validateHeaderName(name);
      // As they are joined when they are sent.
      if (name !== 'link') validateHeaderValue(name, String(value));
    }
  }
  nodes.call(this, hints, callback);
};
