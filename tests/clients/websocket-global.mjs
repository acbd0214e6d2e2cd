// Loaded before a browser's client code: the class that browsers have and older Node versions lack.
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
globalThis.WebSocket = require('ws');
