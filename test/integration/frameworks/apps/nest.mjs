// NestJS on Express, decorators applied by hand: pipes, guards, interceptors, filters, uploads, events.
import 'reflect-metadata';
import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import {
  BadRequestException,
  Body,
  Catch,
  Controller,
  createParamDecorator,
  DefaultValuePipe,
  ForbiddenException,
  Get,
  Header,
  HttpCode,
  Inject,
  Injectable,
  Module,
  Param,
  ParseIntPipe,
  Post,
  Query,
  Redirect,
  Req,
  Res,
  Sse,
  StreamableFile,
  UploadedFile,
  UseFilters,
  UseGuards,
  UseInterceptors,
  ValidationPipe,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FileInterceptor } from '@nestjs/platform-express';
import { IsEmail, IsInt, Min } from 'class-validator';
import { from, map } from 'rxjs';
import { noter } from './notes.mjs';

export async function build(folder) {
  const note = noter(folder);

  class Person {}
  decorate(Person, 'email', IsEmail());
  decorate(Person, 'age', IsInt(), Min(18));

  class Greeter {
    greet(name) {
      return `Hello, ${name}!`;
    }
  }
  Injectable()(Greeter);

  class KeyGuard {
    canActivate(context) {
      const { headers } = context.switchToHttp().getRequest();
      if (headers['x-key'] === 'wrong') throw new ForbiddenException('wrong key');
      return headers['x-key'] === 'right';
    }
  }
  Injectable()(KeyGuard);

  class Wrap {
    intercept(_context, next) {
      return next.handle().pipe(map((data) => ({ data })));
    }
  }
  Injectable()(Wrap);

  class Odd extends Error {}
  class OddFilter {
    catch(error, host) {
      host.switchToHttp().getResponse().status(409).json({ odd: error.message });
    }
  }
  Catch(Odd)(OddFilter);

  const Agent = createParamDecorator((_data, context) => context.switchToHttp().getRequest().headers['user-agent']);

  class PeopleController {
    constructor(greeter) {
      this.greeter = greeter;
    }
    hello(name) {
      return this.greeter.greet(name);
    }
    async one(id, agent) {
      await null;
      return { id, agent };
    }
    create(person) {
      return { person, isPerson: person instanceof Person };
    }
    guarded() {
      return 'in';
    }
    wrapped() {
      return [1, 2];
    }
    odd() {
      throw new Odd('numbers');
    }
    bad() {
      throw new BadRequestException({ why: 'because' });
    }
    async bug() {
      throw new Error('a bug');
    }
    upload(file, body) {
      return { name: file.originalname, size: file.size, text: file.buffer.toString(), title: body.title };
    }
    file() {
      return new StreamableFile(createReadStream(join(folder, 'large.bin')), { disposition: 'attachment' });
    }
    events() {
      return from([1, 2, 3]).pipe(map((n) => ({ id: String(n), data: { n } })));
    }
    raw(req, res) {
      res.on('close', () => note(`closed ${req.path} ${res.writableFinished}`));
      res.status(202).send('by hand');
    }
    moved() {}
  }
  Controller('people')(PeopleController);
  Inject(Greeter)(PeopleController, undefined, 0);
  const handler = (name, ...decorators) => decorate(PeopleController, name, ...decorators);
  handler('hello', Get('hello'), Header('X-Greets', 'yes'), parameter(0, Query('name', new DefaultValuePipe('World'))));
  handler('one', Get('one/:id'), parameter(0, Param('id', ParseIntPipe)), parameter(1, Agent()));
  const pipe = new ValidationPipe({
    expectedType: Person,
    transform: true,
    whitelist: true,
    forbidNonWhitelisted: true,
  });
  handler('create', Post(), parameter(0, Body(pipe)));
  handler('guarded', Get('guarded'), UseGuards(KeyGuard));
  handler('wrapped', Post('wrapped'), HttpCode(200), UseInterceptors(Wrap));
  handler('odd', Get('odd'), UseFilters(OddFilter));
  handler('bad', Get('bad'));
  handler('bug', Get('bug'));
  const upload = FileInterceptor('file', { limits: { fileSize: 1000 } });
  handler('upload', Post('upload'), UseInterceptors(upload), parameter(0, UploadedFile()), parameter(1, Body()));
  handler('file', Get('file'));
  handler('events', Sse('events'));
  handler('raw', Get('raw'), parameter(0, Req()), parameter(1, Res()));
  handler('moved', Get('moved'), Redirect('/people/hello', 302));

  class AppModule {
    configure(consumer) {
      consumer
        .apply((_req, res, next) => {
          res.setHeader('X-Middleware', 'was here');
          next();
        })
        .forRoutes('people/hello');
    }
  }
  Module({ controllers: [PeopleController], providers: [Greeter, KeyGuard, Wrap] })(AppModule);

  const app = await NestFactory.create(AppModule, { logger: false });
  await app.init();
  return app.getHttpAdapter().getInstance();
}

/** What TypeScript compiles @ to: the last decorator first. */
function decorate(target, name, ...decorators) {
  const descriptor = Object.getOwnPropertyDescriptor(target.prototype, name);
  for (const apply of decorators.reverse()) apply(target.prototype, name, descriptor);
}

function parameter(index, decorator) {
  return (target, name) => decorator(target, name, index);
}
