// The dashboard of the guide, done right: what is known is loaded over HTTP, what changes comes over the WebSocket, and
// a change that overtakes the load is never undone by it. Ids are data from outside: they only ever become text.

const PRESENCE_UPDATE = 31;
const PRESENCE_SNAPSHOT = 32;
const IDS_A_REQUEST = 500;
const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 15_000;

// A dashboard of a router with authentication is opened with #token=... behind its address.
const token = new URLSearchParams(location.hash.slice(1)).get('token') ?? 'dashboard';
const deviceId = `web-${crypto.getRandomValues(new Uint32Array(1))[0]}`;

/** Every user known, by id. */
const users = new Map();
/** Users who changed while a load is under way: what it says of them is older. */
let overtaken;
let retries = 0;
let heardAt;

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

function filter() {
  const words = byId('search').value.toLowerCase().split(/\s+/);
  for (const { userId, name, group, element } of users.values()) {
    const text = `${userId} ${name} ${group}`.toLowerCase();
    element.hidden = !words.every((word) => text.includes(word));
  }
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

/** Loads all users known, here or at the router. The socket is open by then, so nothing falls in between. True when done. */
async function load() {
  const mine = new Set();
  overtaken = mine;
  const known = new Set([...(await getJson('/api/users')), ...users.keys()]);
  const ids = Array.from(known);
  for (let at = 0; at < ids.length; at += IDS_A_REQUEST) {
    const statuses = await getJson('/api/presence/status', { userIds: ids.slice(at, at + IDS_A_REQUEST) });
    // Another socket is open by now, and has a load of its own.
    if (overtaken !== mine) return false;
    for (const status of Object.values(statuses)) if (!mine.has(status.userId)) show(status, false);
  }
  if (overtaken !== mine) return false;
  overtaken = undefined;
  filter();
  count();
  return true;
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

function onFrame(data) {
  const message = MessagePack.decode(new Uint8Array(data));
  if (message?.messageType === PRESENCE_UPDATE) {
    overtaken?.add(message.fromId);
    show({ userId: message.fromId, status: message.status, lastSeen: message.timestamp }, true);
    if (message.status === 'offline' && message.reason !== 'disconnect') {
      if (unseen.size === 0) setTimeout(askWhenSeen, 200);
      unseen.add(message.fromId);
    }
  } else if (message?.messageType === PRESENCE_SNAPSHOT) {
    for (const status of message.users) {
      overtaken?.add(status.userId);
      show(status, false);
    }
  } else {
    return;
  }
  filter();
  count();
}

function showConnection(state) {
  const line = byId('connection');
  line.dataset.state = state;
  line.textContent = state === 'live' ? 'Live' : 'Connecting…';
  const stale = byId('stale');
  stale.hidden = state === 'live' || heardAt === undefined;
  byId('main').classList.toggle('stale-view', !stale.hidden);
  if (!stale.hidden)
    stale.textContent = `Connection lost: this is the state of ${heardAt.toLocaleTimeString()}. Trying again…`;
}

function connect() {
  const socket = new WebSocket(`${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}`, [
    token,
    deviceId,
  ]);
  socket.binaryType = 'arraybuffer';
  socket.onopen = async () => {
    try {
      if (!(await load())) return;
      retries = 0;
      showConnection('live');
    } catch (error) {
      console.error(error);
      socket.close();
    }
  };
  socket.onmessage = ({ data }) => onFrame(data);
  socket.onclose = () => {
    if (byId('connection').dataset.state === 'live') heardAt = new Date();
    showConnection('lost');
    // Exponential, with jitter: a thousand dashboards do not come back in the same moment.
    const most = Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** retries);
    retries += 1;
    setTimeout(connect, most / 2 + (Math.random() * most) / 2);
  };
}

byId('search').addEventListener('input', filter);
count();
setInterval(() => {
  for (const user of users.values()) if (user.status !== 'online') showSeen(user);
}, 5_000);
connect();
