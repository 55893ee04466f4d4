// What versions of Node before 22.21 and 24.5 lack: requests of http, https and fetch take the proxy of the
// environment. NODE_OPTIONS has every Node in the box read it first.
'use strict';
const [major, minor] = process.versions.node.split('.').map(Number);
const able = major > 24 || (major === 24 && minor >= 5) || (major === 22 && minor >= 21);
if (!able && process.env.NODE_USE_ENV_PROXY === '1' && process.env.HTTPS_PROXY) {
  const http = require('http');
  const https = require('https');
  const net = require('net');
  const tls = require('tls');
  const proxy = new URL(process.env.HTTPS_PROXY);
  const login = `Basic ${Buffer.from(`${proxy.username}:${proxy.password}`).toString('base64')}`;
  const direct = new Set((process.env.NO_PROXY || '').split(','));
  const bare = (host) => host.replace(/^\[|\]$/g, '');
  const isDirect = (host) => direct.has(bare(host || 'localhost'));

  const tunnel = (host, port, done) => {
    const path = `${net.isIPv6(bare(host)) ? `[${bare(host)}]` : host}:${port}`;
    const headers = { host: path, 'proxy-authorization': login };
    const { hostname, port: at } = proxy;
    const ask = http.request({ agent: false, host: hostname, port: at, method: 'CONNECT', path, headers });
    ask.once('connect', (answer, socket) => {
      if (answer.statusCode === 200) return done(null, socket);
      socket.destroy();
      const why = answer.headers['x-vault-decision'] || '';
      done(new Error(`the proxy refused ${path}: ${answer.statusCode} ${why}`));
    });
    ask.once('error', done);
    ask.end();
  };

  class Plain extends http.Agent {
    addRequest(request, options) {
      if (isDirect(options.host) || options.socketPath || request._header) {
        return super.addRequest(request, options);
      }
      request.path = `http://${request.getHeader('host')}${request.path}`;
      request.setHeader('proxy-authorization', login);
      super.addRequest(request, { ...options, host: proxy.hostname, port: proxy.port });
    }
  }

  class Secure extends https.Agent {
    createConnection(options, done) {
      if (isDirect(options.host) || options.socketPath) return super.createConnection(options, done);
      tunnel(options.host, options.port, (error, socket) => {
        if (error) done(error);
        else done(null, super.createConnection({ ...options, socket }));
      });
    }
  }

  const usual = { keepAlive: true, scheduling: 'lifo', timeout: 5000 };
  http.globalAgent = new Plain(usual);
  https.globalAgent = new Secure(usual);

  // `fetch` is another program inside of Node, which begins at its first use; its own parts are not named.
  const KEY = Symbol.for('undici.globalDispatcher.1');
  const connect = (to, done) => {
    tunnel(to.hostname, to.port || 443, (error, socket) => {
      if (error) return done(error);
      const servername = to.servername || (net.isIP(bare(to.hostname)) ? '' : to.hostname);
      const secure = tls.connect({ socket, servername, ALPNProtocols: ['http/1.1'] });
      secure.once('error', done);
      secure.once('secureConnect', () => done(null, secure));
    });
  };
  const redirect = () => {
    new Headers();
    const own = globalThis[KEY];
    if (!own) return;
    class Way extends own.constructor {
      dispatch(options, handler) {
        const to = new URL(options.origin);
        if (isDirect(to.hostname)) return own.dispatch(options, handler);
        if (to.protocol === 'https:') return super.dispatch(options, handler);
        const more = { host: to.host, 'proxy-authorization': login };
        const headers = Array.isArray(options.headers)
          ? [...options.headers, ...Object.entries(more).flat()]
          : { ...options.headers, ...more };
        return own.dispatch({ ...options, headers, origin: proxy.origin, path: to.origin + options.path }, handler);
      }
    }
    globalThis[KEY] = new Way({ connect });
  };
  const fetch = globalThis.fetch;
  if (fetch) {
    let begun = false;
    globalThis.fetch = function (...said) {
      if (!begun) {
        begun = true;
        redirect();
      }
      return fetch.apply(this, said);
    };
  }
}
