/**
 * gunicorn's settings that do not exist here, and why: they are about Python, or about a part of gunicorn that this server
 * does without. Using one, in a file or as a flag, is an error that says the reason; the settings reference lists them.
 */

export interface Absent {
  /** gunicorn's name. */
  readonly name: string;
  readonly flags: readonly string[];
  /** A sentence: why, and what to use instead where there is something. */
  readonly why: string;
}

const ASGI = 'It is about ASGI, a Python interface; apps here are (req, res) handlers or fetch(request).';
const LOGGING =
  "It is about Python's logging module; --error-logfile, --log-level and --access-logformat say what is logged.";
const PASTE = 'It is about Paste Deploy, a Python tool; name the app itself.';
const DIRTY =
  'Dirty arbiters are processes for heavy work beside the workers; here heavy requests run on threads (--threads, --reserve-threads, docs/containment.md).';
const CONTROL = "It is about gunicornc, gunicorn's own client; use signals, and --status-bind for the state.";
const LENIENT = 'Requests are read by llhttp in its strict mode, as RFC 9112 wants; that cannot be loosened.';
const SSL = "It is about Python's ssl module.";
const UWSGI = 'Only HTTP is spoken; let the proxy use HTTP (proxy_pass in place of uwsgi_pass).';

function absent(why: string, ...names: [name: string, ...flags: string[]][]): Absent[] {
  return names.map(([name, ...flags]) => ({ name, flags, why }));
}

export const ABSENT: readonly Absent[] = [
  ...absent(
    ASGI,
    ['asgi_disconnect_grace_period', '--asgi-disconnect-grace-period'],
    ['asgi_lifespan', '--asgi-lifespan'],
    ['asgi_loop', '--asgi-loop'],
    ['root_path', '--root-path'],
  ),
  ...absent(
    CONTROL,
    ['control_socket', '--control-socket'],
    ['control_socket_disable', '--no-control-socket'],
    ['control_socket_mode', '--control-socket-mode'],
  ),
  ...absent("It is internal to gunicorn; the app's name is used unless there is a --name.", ['default_proc_name']),
  ...absent(
    DIRTY,
    ['dirty_apps', '--dirty-app'],
    ['dirty_graceful_timeout', '--dirty-graceful-timeout'],
    ['dirty_threads', '--dirty-threads'],
    ['dirty_timeout', '--dirty-timeout'],
    ['dirty_workers', '--dirty-workers'],
    ['dirty_post_fork'],
    ['dirty_worker_exit'],
    ['dirty_worker_init'],
    ['on_dirty_starting'],
  ),
  ...absent(
    LENIENT,
    ['casefold_http_method', '--casefold-http-method'],
    ['permit_obsolete_folding', '--permit-obsolete-folding'],
    ['permit_unconventional_http_method', '--permit-unconventional-http-method'],
    ['permit_unconventional_http_version', '--permit-unconventional-http-version'],
    ['strip_header_spaces', '--strip-header-spaces'],
  ),
  ...absent('There is one parser, llhttp, which Node uses itself.', ['http_parser', '--http-parser']),
  ...absent(
    LOGGING,
    ['logconfig', '--log-config'],
    ['logconfig_dict'],
    ['logconfig_json', '--log-config-json'],
    ['logger_class', '--logger-class'],
  ),
  ...absent(PASTE, ['paste', '--paste', '--paster'], ['raw_paste_global_conf', '--paste-global']),
  ...absent(UWSGI, ['protocol', '--protocol'], ['uwsgi_allow_ips', '--uwsgi-allow-from']),
  ...absent('Node finds modules by node_modules folders and package.json, not by a path of folders.', [
    'pythonpath',
    '--pythonpath',
  ]),
  ...absent('It traces Python line by line; Node has --cpu-prof and --inspect.', ['spew', '--spew']),
  ...absent(`${SSL} gunicorn itself ignores it.`, ['ssl_version', '--ssl-version']),
  ...absent(
    SSL,
    ['do_handshake_on_connect', '--do-handshake-on-connect'],
    ['suppress_ragged_eofs', '--suppress-ragged-eofs'],
  ),
  ...absent('HTTP/2 is spoken over TLS (--http-protocols); proxies speak HTTP/1.1 to their upstreams, or can.', [
    'http2_cleartext',
    '--http2-cleartext',
  ]),
  ...absent('Request bodies are streamed to the handler; none is stored in a file.', ['tmp_upload_dir']),
  ...absent('Workers give signs of life over a channel to the arbiter, not by touching a file.', [
    'worker_tmp_dir',
    '--worker-tmp-dir',
  ]),
];
