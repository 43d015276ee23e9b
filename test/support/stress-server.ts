/** A tunicorn started from its command line for the stress tests, with an app of test/stress/apps. */
import { after } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ArbiterProcess } from './arbiter-process.js';
import { children } from './proc.js';

const CLI = fileURLToPath(new URL('../../src/cli.js', import.meta.url));
const APPS = fileURLToPath(new URL('../stress/apps/', import.meta.url));

/** The full form of each acceptance line instead of the short one. */
export const FULL = process.env.STRESS === 'full';

/** How often a race is run (LOOP in the environment). */
export const LOOP = Number(process.env.LOOP ?? (FULL ? 100 : 1));

export class StressServer extends ArbiterProcess {
  port = 0;

  /** Starts and waits until every worker has booted. */
  static async start(app: string, args: readonly string[], env: Record<string, string> = {}): Promise<StressServer> {
    const bound = args.includes('-b') || args.includes('--bind');
    const server = new StressServer([CLI, ...args, ...(bound ? [] : ['-b', '127.0.0.1:0']), `${APPS}${app}`], env);
    try {
      const [address] = await server.addresses();
      if (!address.startsWith('unix:')) server.port = Number(new URL(address).port);
      const at = args.indexOf('--workers');
      await server.waitForBoot(at < 0 ? 1 : Number(args[at + 1]));
    } catch (error) {
      await server.cleanup();
      throw error;
    }
    return server;
  }

  /** Waits until n workers live; a worker is known to serve when a request is answered. */
  async waitForBoot(n: number): Promise<void> {
    await this.waitForWorkers(n, 20_000);
  }

  get target(): { port: number } {
    return { port: this.port };
  }

  /** Workers as the kernel knows them, zombies too. */
  get children(): Array<{ pid: number; state: string }> {
    return children(this.pid);
  }
}

/** Lines of a log that tell of something unexpected. */
export function complaints(log: string, allowed: RegExp | null = null): string[] {
  return log
    .split('\n')
    .filter((line) => /\[(ERROR|CRITICAL|WARNING)\]|^\w*Error\b|FATAL|Assertion/.test(line))
    .filter((line) => !allowed?.test(line));
}

/** Fails with what was wrong, and with the end of the server's log, if anything was. */
export function nothingWrong(result: { wrong: string[] }, server: ArbiterProcess): void {
  const { wrong } = result;
  if (wrong.length === 0) return;
  throw new Error(`${wrong.length} wrong:\n${wrong.slice(0, 10).join('\n')}\nthe log:\n${server.log.slice(-4000)}`);
}

/** Starts servers for the tests of a file; all are cleaned up behind its last one. */
export function serverStarter(): (app: string, args: string[]) => Promise<StressServer> {
  const servers: StressServer[] = [];
  after(async () => {
    for (const server of servers) await server.cleanup();
  });
  return async (app, args) => {
    const server = await StressServer.start(app, args);
    servers.push(server);
    return server;
  };
}
