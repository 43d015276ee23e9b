// NestJS on Express. Plain JavaScript, so its decorators are applied by hand: `decorate` does what TypeScript compiles @ to.
import 'reflect-metadata';
import {
  Body,
  Controller,
  Get,
  Inject,
  Injectable,
  Module,
  NotFoundException,
  Param,
  ParseIntPipe,
  Post,
  ValidationPipe,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { IsInt, IsString, Max, Min, MinLength } from 'class-validator';

class CreateCat {}
decorate(CreateCat, 'name', IsString(), MinLength(2));
decorate(CreateCat, 'age', IsInt(), Min(0), Max(40));

/** Cats that never change: every thread has a service of its own, so what changes belongs into a database. */
class CatsService {
  cats = [{ id: 1, name: 'Tom', age: 5 }];
  find(id) {
    return this.cats.find((cat) => cat.id === id);
  }
}
Injectable()(CatsService);

class CatsController {
  constructor(service) {
    this.service = service;
  }
  hello() {
    return 'Hello, World!\n';
  }
  one(id) {
    const cat = this.service.find(id);
    if (!cat) throw new NotFoundException(`There is no cat ${id}`);
    return cat;
  }
  create(cat) {
    return cat;
  }
}
Controller()(CatsController);
Inject(CatsService)(CatsController, undefined, 0);
decorate(CatsController, 'hello', Get());
decorate(CatsController, 'one', Get('cats/:id'), parameter(0, Param('id', ParseIntPipe)));
decorate(CatsController, 'create', Post('cats'), parameter(0, Body(validated(CreateCat))));

class AppModule {}
Module({ controllers: [CatsController], providers: [CatsService] })(AppModule);

/** Applies decorators to a property or method. */
function decorate(target, name, ...decorators) {
  const descriptor = Object.getOwnPropertyDescriptor(target.prototype, name);
  for (const apply of decorators.reverse()) apply(target.prototype, name, descriptor);
}

/** A decorator of the parameter at `index`. */
function parameter(index, decorator) {
  return (target, name) => decorator(target, name, index);
}

/** TypeScript would emit the parameter's type for the pipe to find; here it is said. */
function validated(expectedType) {
  return new ValidationPipe({ expectedType, transform: true, whitelist: true });
}

const app = await NestFactory.create(AppModule, { logger: ['error', 'warn'] });
// Everything that listen() does, but the listening.
await app.init();

export default app.getHttpAdapter().getInstance();
