--[[
  The format of the records of users and routers. It is put after meta.lua in every script that reads buckets, and is not a script
  itself.

  A bucket is a hash: user -> "<version><reason><last seen>[+-<later>][/<grace until>][,<owner>,<owner>,][;<further>]".

    version      the version of the last change minus the base; negative while the user is offline
    reason       why the last change happened: j connect, l disconnect, t timeout, n node-down, r resync
    last seen    the time of the last activity in the record; the presence key may have a later one
    later        how much later (+) or earlier (-) than that the last change happened; absent where it is less than a second later,
                 as nearly always, which saves three bytes a user
    grace until  when the grace ends
    owner        the incarnation of a router that holds the user
    further      fields of later versions of this library, which this one ignores

  Numbers are hexadecimal, and times are milliseconds since 2020, which saves five bytes a user. The letters of reasons are not
  hexadecimal digits.

  An entry of the hash "nodes" is "<lease in ms> <extended 0|1> <number of its last apply> <claimed by a reaper until>". Later versions
  may add fields after a space.
]]
local CLOSE_MS = 1000
local LETTERS = { connect = 'j', disconnect = 'l', timeout = 't', ['node-down'] = 'n', resync = 'r' }

-- Whether a text is a valid id: 1 to 256 bytes of UTF-8, RFC 3629.
local function isId(text)
  if text == '' or #text > 256 then return false end
  if not find(text, '[\128-\255]') then return true end
  if find(text, '\224[\128-\159]') or find(text, '\237[\160-\191]') or find(text, '\240[\128-\143]') or find(text, '\244[\144-\191]') then
    return false
  end
  text = string.gsub(text, '[\240-\244][\128-\191][\128-\191][\128-\191]', '')
  text = string.gsub(text, '[\224-\239][\128-\191][\128-\191]', '')
  text = string.gsub(text, '[\194-\223][\128-\191]', '')
  return not find(text, '[\128-\255]')
end

-- A text as JSON. It is valid UTF-8, so only these three kinds of characters need an escape.
local function json(text)
  if find(text, '[%c"\\]') then
    text = string.gsub(text, '[%c"\\]', function(char) return format('\\u%04x', string.byte(char)) end)
  end
  return '"' .. text .. '"'
end

-- The base of the versions in records, by the seed of the caller.
local base = 0
local function baseOf(seed) return tonumber(sub(seed, 17), 16) or 0 end

-- The user whom a script looks at. One table serves all of them, since that is one user at a time, and a table for each would cost
-- a twentieth of a join.
local current = { version = 0, letter = '', seen = 0, changed = 0, grace = 0, owners = '' }

-- A user, until the next one.
local function userOf(version, letter, seen, changed, grace, owners)
  local user = current
  user.version, user.letter, user.seen, user.changed, user.grace, user.owners = version, letter, seen, changed, grace, owners
  return user
end

local OWNERS = '^,[%w_+/=.:~%%,-]*[^,],$'
-- The last owners that were found valid: most users have the same ones as the user before.
local validOwners = ''

-- The user of a record, until the next call; nil for an invalid record.
local function parse(record)
  if not record or #record > 8192 then return nil end
  local minus, version, letter, seen, later, grace, owners = match(record, '^(-?)(%x+)([jltnr])(%x+)([^/,;]*)/?(%x*)(.*)$')
  if not version or #version > 13 or #seen > 11 or #later > 12 or #grace > 11 then return nil end
  if owners ~= validOwners and owners ~= '' then
    if not find(owners, OWNERS) then
      owners = match(owners, '^([^;]*);')
      if not owners or (owners ~= '' and not find(owners, OWNERS)) then return nil end
    end
    -- No user is on so many routers, and no name is so long.
    if #owners > 256 then
      local left = 512
      for owner in string.gmatch(owners, '[^,]+') do
        left = left - 1
        if left < 0 or #owner > 256 then return nil end
      end
    end
    validOwners = owners
  end
  -- A user who is online is held by a router, or in grace.
  if minus == '' and grace == '' and owners == '' then return nil end
  version, seen = tonumber(version, 16) + base, tonumber(seen, 16) + EPOCH
  if minus ~= '' then version = -version end
  -- Last seen cannot be in the future.
  if seen > now then seen = now end
  grace = grace == '' and 0 or tonumber(grace, 16) + EPOCH
  -- The option of a grace cannot be longer.
  if grace > now + 2147483647 then return nil end
  local changed = seen
  if later ~= '' then
    local ms = tonumber(sub(later, 2), 16)
    local side = sub(later, 1, 1)
    if not ms or not (side == '-' or side == '+') then return nil end
    changed = side == '-' and seen - ms or seen + ms
  end
  return userOf(version, letter, seen, changed, grace, owners == '' and ',' or owners)
end

-- The text of a record. One call of "format" a record: each takes as long as a tenth of a leave.
local function composed(version, letter, seen, changed, grace, owners)
  if seen < EPOCH then seen = EPOCH end
  if owners == ',' then owners = '' end
  local later, sign = changed - seen, ''
  if version < 0 then version, sign = -version, '-' end
  if later >= 0 and later < CLOSE_MS then
    if grace == 0 then return format('%s%x%s%x%s', sign, version - base, letter, seen - EPOCH, owners) end
    return format('%s%x%s%x/%x%s', sign, version - base, letter, seen - EPOCH, grace - EPOCH, owners)
  end
  local side = '+'
  if later < 0 then later, side = -later, '-' end
  if grace == 0 then return format('%s%x%s%x%s%x%s', sign, version - base, letter, seen - EPOCH, side, later, owners) end
  return format('%s%x%s%x%s%x/%x%s', sign, version - base, letter, seen - EPOCH, side, later, grace - EPOCH, owners)
end

local function compose(user)
  return composed(user.version, user.letter, user.seen, user.changed, user.grace, user.owners)
end

-- Parses the entry of a router; nil where it is invalid.
local function parseNode(entry)
  if not entry or #entry > 512 then return nil end
  local lease, extended, last, claimed = match(entry .. ' ', '^(%d+) ([01]) (%d+) (%d+) ')
  lease, last, claimed = number(lease), number(last), number(claimed)
  if not lease or not last or not claimed then return nil end
  return { lease = lease, extended = extended == '1', last = last, claimed = claimed }
end

local function composeNode(node)
  return format('%d %s %d %d', node.lease, node.extended and '1' or '0', node.last, node.claimed)
end
