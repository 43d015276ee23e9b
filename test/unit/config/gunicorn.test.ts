/** gunicorn's settings reference (26.2): each name is ours as well, or is refused with a reason, or is known to be missing. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { COMMAND_OPTIONS } from '../../../src/config/command-options.js';
import { HOOKS } from '../../../src/config/hooks.js';
import { explainFlag, explainUnknown, lookUp } from '../../../src/config/names.js';
import { ABSENT } from '../../../src/config/python-only.js';
import { settingsReference } from '../../../src/config/reference.js';
import { settingList } from '../../../src/config/settings.js';

/** Name and flags of every setting of gunicorn 26.2, from its settings reference. */
const GUNICORN = `
  access_log_format --access-logformat
  accesslog --access-logfile
  asgi_disconnect_grace_period --asgi-disconnect-grace-period
  asgi_lifespan --asgi-lifespan
  asgi_loop --asgi-loop
  backlog --backlog
  bind -b --bind
  ca_certs --ca-certs
  capture_output --capture-output
  casefold_http_method --casefold-http-method
  cert_reqs --cert-reqs
  certfile --certfile
  chdir --chdir
  check_config --check-config
  child_exit
  ciphers --ciphers
  config -c --config
  control_socket --control-socket
  control_socket_disable --no-control-socket
  control_socket_mode --control-socket-mode
  daemon -D --daemon
  default_proc_name
  dirty_apps --dirty-app
  dirty_graceful_timeout --dirty-graceful-timeout
  dirty_post_fork
  dirty_threads --dirty-threads
  dirty_timeout --dirty-timeout
  dirty_worker_exit
  dirty_worker_init
  dirty_workers --dirty-workers
  disable_redirect_access_to_syslog --disable-redirect-access-to-syslog
  do_handshake_on_connect --do-handshake-on-connect
  dogstatsd_tags --dogstatsd-tags
  enable_backlog_metric --enable-backlog-metric
  enable_stdio_inheritance -R --enable-stdio-inheritance
  errorlog --error-logfile --log-file
  forwarded_allow_ips --forwarded-allow-ips
  forwarder_headers --forwarder-headers
  graceful_timeout --graceful-timeout
  group -g --group
  header_map --header-map
  http2_cleartext --http2-cleartext
  http2_initial_window_size --http2-initial-window-size
  http2_max_concurrent_streams --http2-max-concurrent-streams
  http2_max_frame_size --http2-max-frame-size
  http2_max_header_list_size --http2-max-header-list-size
  http_parser --http-parser
  http_protocols --http-protocols
  initgroups --initgroups
  keepalive --keep-alive
  keyfile --keyfile
  limit_request_field_size --limit-request-field_size
  limit_request_fields --limit-request-fields
  limit_request_line --limit-request-line
  logconfig --log-config
  logconfig_dict
  logconfig_json --log-config-json
  logger_class --logger-class
  loglevel --log-level
  max_requests --max-requests
  max_requests_jitter --max-requests-jitter
  nworkers_changed
  on_dirty_starting
  on_exit
  on_reload
  on_starting
  paste --paste --paster
  permit_obsolete_folding --permit-obsolete-folding
  permit_unconventional_http_method --permit-unconventional-http-method
  permit_unconventional_http_version --permit-unconventional-http-version
  pidfile -p --pid
  post_fork
  post_request
  post_worker_init
  pre_exec
  pre_fork
  pre_request
  preload_app --preload
  print_config --print-config
  proc_name -n --name
  protocol --protocol
  proxy_allow_ips --proxy-allow-from
  proxy_protocol --proxy-protocol
  pythonpath --pythonpath
  raw_env -e --env
  raw_paste_global_conf --paste-global
  reload --reload
  reload_engine --reload-engine
  reload_extra_files --reload-extra-file
  reuse_port --reuse-port
  root_path --root-path
  secure_scheme_headers
  sendfile --no-sendfile
  spew --spew
  ssl_context
  ssl_version --ssl-version
  statsd_host --statsd-host
  statsd_prefix --statsd-prefix
  strip_header_spaces --strip-header-spaces
  suppress_ragged_eofs --suppress-ragged-eofs
  syslog --log-syslog
  syslog_addr --log-syslog-to
  syslog_facility --log-syslog-facility
  syslog_prefix --log-syslog-prefix
  threads --threads
  timeout -t --timeout
  tmp_upload_dir
  umask -m --umask
  user -u --user
  uwsgi_allow_ips --uwsgi-allow-from
  when_ready
  worker_abort
  worker_class -k --worker-class
  worker_connections --worker-connections
  worker_exit
  worker_int
  worker_tmp_dir --worker-tmp-dir
  workers -w --workers
  wsgi_app
`;

const names = GUNICORN.trim()
  .split('\n')
  .map((line) => line.trim().split(' '));

describe("gunicorn's settings", () => {
  for (const [name, ...flags] of names) {
    it(name, () => {
      const found = lookUp(name);
      const option = COMMAND_OPTIONS.find((o) => o.name === name);
      const absent = ABSENT.find((a) => a.name === name);
      const ways = [found, option, absent].filter((way) => way !== undefined);
      assert.equal(ways.length, 1, `${name} has to be in exactly one of the tables`);
      if (found && 'setting' in found) for (const flag of flags) assert.ok(found.setting.flags.includes(flag), flag);
      if (option) assert.deepEqual([...option.flags], flags);
      if (absent) {
        assert.deepEqual(absent.flags, flags);
        assert.match(explainUnknown(name), new RegExp(`^gunicorn's setting "${name}" does not exist here\\. `));
        for (const flag of flags) assert.ok(explainFlag(flag)?.endsWith(absent.why));
      }
    });
  }

  it('what does not exist here is a setting of gunicorn, with a reason in a sentence', () => {
    const all = new Set(names.map(([name]) => name));
    for (const { name, why } of ABSENT) {
      assert.ok(all.has(name), name);
      assert.match(why, /^[A-Z].*\.$/);
    }
  });
});

describe('docs/settings.md', () => {
  const text = settingsReference();

  it('is what `npm run docs` writes', () => {
    const path = new URL('../../../../docs/settings.md', import.meta.url);
    assert.equal(readFileSync(path, 'utf8'), text, 'run `npm run docs`');
  });

  it('has every setting, option and hook', () => {
    for (const { name, flags, description } of [...settingList, ...COMMAND_OPTIONS]) {
      assert.ok(text.includes(`\n### \`${name}\`\n\n${description}\n`), name);
      for (const flag of flags) assert.ok(text.includes(`\`${flag}`), flag);
    }
    for (const { name, key } of HOOKS) assert.ok(text.includes(`| \`${name}\` | \`${key}\` |`), name);
  });
});
