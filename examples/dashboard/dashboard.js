import { createPresenceClient } from './client.js';

// The dashboard of the guide, done right, on the client that the package brings. It hears who comes and goes; whom it has
// not heard of, but the router knows, it asks for over HTTP. Ids are data from outside: they only ever become text.

const IDS_A_REQUEST = 500;
const TIMELINE_MS = 600_000;
const SAMPLE_MS = 2_000;

// A dashboard of a router with authentication is opened with #token=... behind its address.
const token = new URLSearchParams(location.hash.slice(1)).get('token') ?? 'dashboard';

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
    user.status = status;
    user.element.classList.toggle('online', status === 'online');
    user.element.classList.toggle('offline', status !== 'online');
    place(user);
    user.element.classList.toggle('changed', isChange);
  }
  showSeen(user);
  match(user);
}

/** Puts a user where it belongs: each list is sorted, and an element moves only when its status changes. */
function place(user) {
  const list = user.status === 'online' ? lists.online : lists.offline;
  const others = list.children;
  let from = 0;
  let to = others.length;
  while (from < to) {
    const middle = (from + to) >> 1;
    if (collator.compare(sortKey(users.get(others[middle].dataset.userId)), sortKey(user)) < 0) from = middle + 1;
    else to = middle;
  }
  list.insertBefore(user.element, others[from] ?? null);
}

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

let counting = false;
/** Once a frame, however many changed. */
function count() {
  if (counting) return;
  counting = true;
  requestAnimationFrame(() => {
    counting = false;
    let online = 0;
    for (const { status } of users.values()) if (status === 'online') online += 1;
    byId('online-count').textContent = online;
    byId('all-count').textContent = users.size;
    document.title = `${online} online – VoicePing presence`;
    for (const name of ['online', 'offline']) {
      const shown = Array.from(lists[name].children).filter((element) => !element.hidden).length;
      byId(`${name}-shown`).textContent = shown;
      const empty = byId(`${name}-empty`);
      empty.hidden = shown > 0;
      empty.textContent = lists[name].children.length > 0 ? 'No match here.' : `Nobody is ${name}.`;
    }
  });
}

let words = [''];

function match({ userId, name, group, element }) {
  const text = `${userId} ${name} ${group}`.toLowerCase();
  element.hidden = !words.every((word) => text.includes(word));
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
  const ids = (await getJson('/api/users')).filter((id) => client.getStatus(id) === undefined);
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
    stale.textContent = `${lost}: this is the state of ${new Date(asOf).toLocaleTimeString()}. Trying again…`;
  }
  if (state === 'live') load().catch((error) => console.warn(error));
}

/** How many were online, for the last minutes; nothing where that was not known. */
const samples = [];

function sample() {
  const now = Date.now();
  const isKnown = client.connection.state === 'live';
  let online = 0;
  for (const { status } of users.values()) if (status === 'online') online += 1;
  samples.push({ at: now, online: isKnown ? online : undefined });
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
  token,
  deviceId: `web-${crypto.getRandomValues(new Uint32Array(1))[0]}`,
  minBackoffMs: 500,
  maxBackoffMs: 15_000,
});
client.onChange(onChange);
client.onConnectionChange(showConnection);

byId('search').addEventListener('input', filter);
count();
setInterval(sample, SAMPLE_MS);
setInterval(() => {
  for (const user of users.values()) if (user.status !== 'online') showSeen(user);
}, 5_000);
