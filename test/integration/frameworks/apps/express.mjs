// Express 5 and 4 with the middleware that most apps have. Both versions get the same app.
import { createHash } from 'node:crypto';
import { createReadStream, existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import compression from 'compression';
import cookieParser from 'cookie-parser';
import express5 from 'express';
import session from 'express-session';
import express4 from 'express4';
import multer from 'multer';
import { noter } from './notes.mjs';

export const five = (folder) => make(express5, folder);
export const four = (folder) => make(express4, folder);

/** Sessions as files: a MemoryStore would be one for each thread. */
class FileStore extends session.Store {
  constructor(folder) {
    super();
    this.file = (id) => join(folder, `session-${id}.json`);
  }
  get(id, done) {
    done(null, existsSync(this.file(id)) ? JSON.parse(readFileSync(this.file(id), 'utf8')) : null);
  }
  set(id, data, done) {
    writeFileSync(`${this.file(id)}.new`, JSON.stringify(data));
    renameSync(`${this.file(id)}.new`, this.file(id));
    done(null);
  }
  destroy(id, done) {
    rmSync(this.file(id), { force: true });
    done(null);
  }
}

function make(express, folder) {
  const note = noter(folder);
  const file = join(folder, 'file.txt');
  const app = express();
  app.set('trust proxy', 'loopback');

  app.get('/', (_req, res) => res.send('hello'));
  app.get('/who', ({ ip, ips, protocol, secure, hostname }, res) => res.json({ ip, ips, protocol, secure, hostname }));

  app.post('/json', express.json({ limit: '1kb' }), (req, res) => res.json(req.body));
  app.post('/form', express.urlencoded({ extended: true, limit: '1kb', parameterLimit: 5 }), (req, res) => {
    res.json(req.body);
  });
  app.post('/text', express.text({ type: '*/*' }), (req, res) => res.send(req.body));
  app.post('/raw', express.raw({ type: '*/*', limit: '4mb' }), (req, res) => {
    res.json({ size: req.body.length, digest: digest(req.body) });
  });

  const inMemory = multer({ limits: { fileSize: 64 * 1024, files: 3 } });
  app.post('/upload/memory', inMemory.array('files'), (req, res) => {
    const files = req.files.map(({ originalname, mimetype, size, buffer }) => {
      return { originalname, mimetype, size, digest: digest(buffer) };
    });
    res.json({ files, fields: { ...req.body } });
  });
  const onDisk = multer({ dest: join(folder, 'uploads') });
  app.post('/upload/disk', onDisk.single('file'), (req, res) => {
    const data = readFileSync(req.file.path);
    rmSync(req.file.path);
    res.json({ name: req.file.originalname, size: data.length, digest: digest(data) });
  });

  app.use('/static', express.static(join(folder, 'public'), { maxAge: '1h' }));
  app.get('/sendfile', (_req, res) => res.sendFile(file, { headers: { 'X-Sent': 'yes' } }));
  app.get('/download', (_req, res) => res.download(file, '文.txt'));
  app.get('/missing', (_req, res, next) => res.sendFile(join(folder, 'none'), next));
  app.get('/pipe', (_req, res) => createReadStream(file).pipe(res));
  app.get('/redirect', (_req, res) => res.redirect(303, '/who'));

  const zip = express.Router();
  zip.use(compression({ threshold: 100 }));
  zip.get('/text', (_req, res) => res.type('text').send('squeeze me '.repeat(1000)));
  zip.get('/short', (_req, res) => res.type('text').send('short'));
  zip.get('/image', (_req, res) => res.type('png').send(Buffer.alloc(1000)));
  // Each piece of the request is a piece of the response, at once.
  zip.post('/echo', (req, res) => {
    res.type('text');
    req.on('data', (piece) => {
      res.write(piece);
      res.flush();
    });
    req.on('end', () => res.end());
  });
  app.use('/zip', zip);

  const secret = 'keyboard cat';
  app.get('/cookies', cookieParser(secret), (req, res) => {
    res.cookie('plain', 'a b', { maxAge: 60_000, httpOnly: true, sameSite: 'lax' });
    res.cookie('signed', { n: 1 }, { signed: true });
    res.clearCookie('old');
    res.json({ plain: req.cookies, signed: req.signedCookies });
  });
  const sessions = express.Router();
  sessions.use(session({ secret, store: new FileStore(folder), resave: false, saveUninitialized: false }));
  sessions.get('/visit', (req, res) => {
    req.session.visits = (req.session.visits ?? 0) + 1;
    res.json({ visits: req.session.visits });
  });
  sessions.get('/leave', (req, res, next) => req.session.destroy((err) => (err ? next(err) : res.sendStatus(204))));
  app.use('/session', sessions);

  const inner = express.Router({ mergeParams: true });
  inner.param('item', (req, _res, next, item) => {
    req.item = Number(item);
    next(Number.isInteger(req.item) ? undefined : 'route');
  });
  inner.get('/:item', (req, res) => res.json({ user: req.params.user, item: req.item, query: req.query }));
  inner.all('/:item', (_req, res) => res.status(405).set('Allow', 'GET').end());
  app.use('/users/:user/items', inner);

  app.get('/throw', () => {
    throw Object.assign(new Error('thrown'), { status: 418 });
  });
  // Express 4 leaves a rejected promise to its handler.
  app.get('/reject', (_req, _res, next) => {
    const failed = fail();
    return express === express5 ? failed : failed.catch(next);
  });
  app.get('/late', (_req, res, next) => {
    res.type('text').write('so far');
    setImmediate(next, new Error('late'));
  });
  app.post('/abort', (req, res) => {
    let size = 0;
    req.on('data', (piece) => (size += piece.length));
    req.on('aborted', () => note(`aborted ${size > 0}`));
    req.on('error', ({ code }) => note(`error ${code}`));
    res.on('close', () => note(`closed, finished: ${res.writableFinished}`));
  });
  app.get('/hang', (_req, res) => {
    res.on('close', () => note(`left, finished: ${res.writableFinished}`));
    res.on('finish', () => note('left, finish'));
    res.write('some');
  });

  app.use((_req, res) => res.status(404).json({ error: 'none' }));
  app.use((err, req, res, next) => {
    note(`failed ${req.url} ${err.message}`);
    if (res.headersSent) next(err);
    else
      res
        .status(err.status ?? (err.code?.startsWith('LIMIT') ? 413 : 500))
        .json({ error: err.message, code: err.code });
  });
  return app;
}

async function fail() {
  await null;
  throw new Error('rejected');
}

function digest(bytes) {
  return createHash('sha256').update(bytes).digest('hex');
}
