import { Server, Socket } from 'node:net';

// Stands before a recipe of the README: its port 3000 becomes a free one, which is told, and the Redis of the tests its Redis.

const { listen } = Server.prototype;
Server.prototype.listen = function (...args) {
  const [first] = args;
  if (first === 3000) args[0] = 0;
  else if (first?.port === 3000) args[0] = { ...first, port: 0 };
  this.once('listening', () => process.send({ port: this.address().port }));
  return listen.apply(this, args);
};

const { connect } = Socket.prototype;
const redisPort = Number(process.env['RECIPE_REDIS_PORT']);
Socket.prototype.connect = function (...args) {
  const normalized = Array.isArray(args[0]) ? args[0] : args;
  if (normalized[0]?.port === 6379) normalized[0] = { ...normalized[0], port: redisPort, host: '127.0.0.1' };
  return connect.apply(this, args);
};
