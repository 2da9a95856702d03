import { createPresenceClient } from './client.js';

// The dashboard of the guide, done right, on the client that the package brings. It hears who comes and goes; whom it has
// not heard of, but the router knows, it asks for over HTTP. Ids are data from outside: they only ever become text.

const IDS_A_REQUEST = 500;
const TIMELINE_MS = 600_000;
const SAMPLE_MS = 2_000;
/** A page with thousands of cards is laid out for a tenth of a second at each change, and read by nobody. */
const CARDS = 300;
/** How often a dashboard that watches by id looks for newcomers. */
const LOAD_MS = 10_000;

// A dashboard of a router with authentication is opened with #token=... behind its address. It may watch those of its
// company, by their ids; where nobody is authenticated, everybody.
const given = new URLSearchParams(location.hash.slice(1)).get('token');
const token = given ?? 'dashboard';
const watched = new Set();

/** Every user known, by id. */
const users = new Map();

const byId = (id) => document.getElementById(id);
const lists = { online: byId('online'), offline: byId('offline') };
const template = byId('user-template');
const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: 'base' });

function userOf(userId) {
  let user = users.get(userId);
  if (user === undefined) {
    const element = template.content.firstElementChild.cloneNode(true);
    // `acme_omar` is Omar of acme; any other id is its own name.
    const [, group, name] = /^([^_]+)_([^_].*)$/s.exec(userId) ?? [undefined, '', userId];
    element.dataset.userId = userId;
    element.title = userId;
    element.querySelector('.name').textContent = name;
    element.querySelector('.group').textContent = group;
    user = { userId, name, group, status: undefined, lastSeen: null, element };
    users.set(userId, user);
  }
  return user;
}

function show({ userId, status, lastSeen }, isChange) {
  const user = userOf(userId);
  user.lastSeen = lastSeen;
  if (user.status !== status) {
    const before = order[user.status];
    before?.splice(placeOf(before, user), 1);
    user.status = status;
    order[status].splice(placeOf(order[status], user), 0, user);
    user.element.classList.toggle('online', status === 'online');
    user.element.classList.toggle('offline', status !== 'online');
    user.element.classList.toggle('changed', isChange);
  }
  showSeen(user);
  match(user);
}

/** Users of each list, sorted. */
const order = { online: [], offline: [] };

/** Where a user stands in a sorted list, or would. */
function placeOf(list, user) {
  let from = 0;
  let to = list.length;
  while (from < to) {
    const middle = (from + to) >> 1;
    if (compare(list[middle], user) < 0) from = middle + 1;
    else to = middle;
  }
  return from;
}

const compare = (a, b) =>
  collator.compare(sortKey(a), sortKey(b)) || (a.userId < b.userId ? -1 : a.userId > b.userId ? 1 : 0);

const sortKey = ({ group, name }) => `${group} ${name}`;

const UNITS = [
  ['second', 1, 60],
  ['minute', 60, 3_600],
  ['hour', 3_600, 86_400],
  ['day', 86_400, Number.POSITIVE_INFINITY],
];
const elapsed = new Intl.RelativeTimeFormat('en', { numeric: 'always', style: 'narrow' });

function inWords(lastSeen) {
  if (lastSeen === null) return 'never seen';
  const seconds = Math.max(0, (Date.now() - Date.parse(lastSeen)) / 1000);
  if (seconds < 10) return 'seen just now';
  for (const [unit, length, end] of UNITS) {
    if (seconds < end) return `seen ${elapsed.format(-Math.floor(seconds / length), unit)}`;
  }
}

function showSeen(user) {
  const text = user.status === 'online' ? 'online' : inWords(user.lastSeen);
  const seen = user.element.querySelector('.seen');
  if (seen.textContent !== text) seen.textContent = text;
  seen.title = user.lastSeen === null ? '' : `last seen ${new Date(user.lastSeen).toLocaleString()}`;
}

let isDue = false;
/** Once a frame, however many changed. */
function count() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => {
    isDue = false;
    byId('online-count').textContent = order.online.length;
    byId('all-count').textContent = users.size;
    document.title = `${order.online.length} online – VoicePing presence`;
    for (const name of ['online', 'offline']) {
      const matching = order[name].filter((user) => user.isMatch);
      render(lists[name], matching.slice(0, CARDS));
      byId(`${name}-shown`).textContent = matching.length;
      const rest = matching.length - CARDS;
      const line = byId(`${name}-empty`);
      line.hidden = matching.length > 0 && rest <= 0;
      if (rest > 0) line.textContent = `And ${rest} more: type a name to find somebody.`;
      else line.textContent = order[name].length > 0 ? 'No match here.' : `Nobody is ${name}.`;
    }
  });
}

/** Makes a list hold just these, in this order; what stays where it is is not touched. */
function render(list, shown) {
  let at = list.firstElementChild;
  for (const { element } of shown) {
    if (element === at) at = at.nextElementSibling;
    else list.insertBefore(element, at);
  }
  while (at !== null) {
    const next = at.nextElementSibling;
    at.remove();
    at = next;
  }
}

let words = [''];

function match(user) {
  const text = `${user.userId} ${user.name} ${user.group}`.toLowerCase();
  user.isMatch = words.every((word) => text.includes(word));
}

function filter() {
  words = byId('search').value.toLowerCase().split(/\s+/);
  for (const user of users.values()) match(user);
  count();
}

async function getJson(path, body) {
  const response = await fetch(path, {
    method: body === undefined ? 'GET' : 'POST',
    headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${token}` },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`${path} answered ${response.status}`);
  return response.json();
}

/** Asks for those whom the router knows, and who are not online: they are no news, and nobody tells them. */
async function load() {
  const known = await getJson('/api/users');
  if (given !== null && known.some((id) => !watched.has(id))) {
    for (const id of known) watched.add(id);
    client.watch(watched);
    return;
  }
  const ids = known.filter((id) => client.getStatus(id) === undefined);
  for (let at = 0; at < ids.length; at += IDS_A_REQUEST) {
    const statuses = await getJson('/api/presence/status', { userIds: ids.slice(at, at + IDS_A_REQUEST) });
    // Whoever came meanwhile is known better by now.
    for (const status of Object.values(statuses)) {
      if (client.getStatus(status.userId) === undefined) show(status, false);
    }
  }
  count();
}

/** Users who have gone without a word. When they were last seen was before that, and the endpoint knows when. */
const unseen = new Set();

async function askWhenSeen() {
  const userIds = Array.from(unseen).slice(0, IDS_A_REQUEST);
  unseen.clear();
  try {
    const statuses = await getJson('/api/presence/status', { userIds });
    for (const { userId, status, lastSeen } of Object.values(statuses)) {
      const user = users.get(userId);
      if (status === 'online' || user?.status === 'online') continue;
      user.lastSeen = lastSeen;
      showSeen(user);
    }
  } catch (error) {
    console.warn(error);
  }
}

function onChange(changed) {
  for (const status of changed) {
    const user = users.get(status.userId);
    show(status, user?.status !== undefined);
    if (status.status !== 'offline') continue;
    if (unseen.size === 0) setTimeout(askWhenSeen, 200);
    unseen.add(status.userId);
  }
  count();
}

const LINES = { live: 'Live', stale: 'Delayed', offline: 'Connecting…', connecting: 'Connecting…', closed: 'Closed' };

function showConnection({ state, asOf, refused }) {
  const line = byId('connection');
  line.dataset.state = state;
  line.textContent = refused ?? LINES[state];
  const stale = byId('stale');
  stale.hidden = state === 'live' || asOf === null;
  byId('main').classList.toggle('stale-view', !stale.hidden);
  if (!stale.hidden) {
    const lost = state === 'stale' ? 'The router cannot hear its store' : 'Connection lost';
    stale.textContent = `${lost}: this is the state of ${new Date(asOf).toLocaleTimeString()}.${state === 'closed' ? '' : ' Trying again…'}`;
  }
  if (state === 'live') load().catch((error) => console.warn(error));
}

/** How many were online, for the last minutes; nothing where that was not known. */
const samples = [];

function sample() {
  const now = Date.now();
  const isKnown = client.connection.state === 'live';
  samples.push({ at: now, online: isKnown ? order.online.length : undefined });
  while (samples[0].at < now - TIMELINE_MS) samples.shift();
  const known = samples.filter((each) => each.online !== undefined).map((each) => each.online);
  const most = Math.max(1, ...known);
  // As long as the page has been open, from a minute up.
  const spanMs = Math.min(TIMELINE_MS, Math.max(60_000, now - samples[0].at));
  const span = spanMs <= 60_000 ? 'last minute' : `last ${Math.ceil(spanMs / 60_000)} minutes`;
  const [width, height] = [600, 36];
  let path = '';
  let isDown = false;
  for (const { at, online: count } of samples) {
    const x = (width * (at - (now - spanMs))) / spanMs;
    if (count !== undefined)
      path += `${isDown ? 'L' : 'M'}${x.toFixed(1)} ${(height - 2 - ((height - 4) * count) / most).toFixed(1)}`;
    isDown = count !== undefined;
  }
  byId('timeline-path').setAttribute('d', path);
  const words = known.length === 0 ? 'nothing yet' : `between ${Math.min(...known)} and ${Math.max(...known)}`;
  byId('timeline').setAttribute('aria-label', `Online in the ${span}: ${words}`);
  byId('timeline-span').textContent = span;
  byId('timeline-most').textContent = known.length === 0 ? '' : `most ${Math.max(...known)}`;
}

const client = createPresenceClient({
  url: `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}`,
  // A browser does not tell a page that its token was refused in the handshake; this endpoint does.
  statusUrl: '/api/presence/status',
  token,
  ids: given === null ? true : [],
  deviceId: `web-${crypto.getRandomValues(new Uint32Array(1))[0]}`,
  minBackoffMs: 500,
  maxBackoffMs: 15_000,
});
client.onChange(onChange);
client.onConnectionChange(showConnection);

byId('search').addEventListener('input', filter);
count();
setInterval(sample, SAMPLE_MS);
// Newcomers of the company.
if (given !== null) {
  setInterval(() => client.connection.state === 'live' && load().catch((error) => console.warn(error)), LOAD_MS);
}
setInterval(() => {
  for (const user of users.values()) if (user.status !== 'online') showSeen(user);
}, 5_000);
