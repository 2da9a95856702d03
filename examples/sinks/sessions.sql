-- Sessions: from when to when each user was online, and why a session ended. PostgreSQL 13 and later.
-- An id is kept as it is, but for a backslash and a NUL, which PostgreSQL cannot keep: they are \\ and \0.

-- Routers that start at once wait for each other, and for a batch.
select pg_advisory_xact_lock(hashtext('presence_sessions'));

create table if not exists presence_sessions (
  user_id text not null,
  began timestamptz not null,
  -- connect, resync; listing: it was there when the record began
  began_by text not null,
  -- null while the user is online
  ended timestamptz,
  -- disconnect, timeout, node-down, resync; unknown: the session was lost sight of
  ended_by text,
  -- that of the change which began it; null for one from a listing
  version bigint,
  -- how many gaps there were before: after one, versions may begin anew, as those of a store in memory do
  gaps bigint not null default 0,
  check (ended >= began)
);
create unique index if not exists presence_sessions_open on presence_sessions (user_id) where ended is null;
create unique index if not exists presence_sessions_version on presence_sessions (user_id, gaps, version);
create index if not exists presence_sessions_time on presence_sessions (user_id, began);

-- Spans in which nobody could know: before the record began, and where changes were lost.
create table if not exists presence_unknown (
  began timestamptz not null primary key,
  -- null while it lasts
  ended timestamptz
);

-- One row: the last call, as its token and its number, how many gaps there were, and the time up to which every change is recorded.
create table if not exists presence_record (
  only_one boolean primary key default true check (only_one),
  token bigint not null default 0,
  -- the greatest number of a call with that token
  call bigint not null default 0,
  gaps bigint not null default 0,
  known_until timestamptz not null default '-infinity'
);
insert into presence_record default values on conflict do nothing;

-- Records a batch. One call is one transaction: all of it is recorded, or nothing.
create or replace function presence_record_batch(batch jsonb, fence bigint, number bigint) returns void language plpgsql as $$
declare
  change record;
  as_of timestamptz := batch ->> 'asOf';
  known timestamptz;
  lost_since timestamptz;
  era bigint;
begin
  -- Tables may be made by a router that starts.
  perform pg_advisory_xact_lock_shared(hashtext('presence_sessions'));
  -- It also waits for a batch that is being recorded.
  update presence_record set token = fence, call = number where (token, call) < (fence, number)
    returning known_until, gaps into known, era;
  if not found then
    raise exception 'call % with token % comes late: a later one has been recorded', number, fence;
  end if;

  if (batch ->> 'gap')::boolean then
    if (batch ->> 'part')::int = 0 then
      era := era + 1;
      update presence_record set gaps = era;
      select began into lost_since from presence_unknown where ended is null;
      if not found then
        lost_since := known;
        insert into presence_unknown (began) values (known)
          on conflict (began) do update set ended = null;
      end if;
      -- Those of a listing that was not completed.
      delete from presence_sessions where ended is null and began >= lost_since and version is null;
      update presence_sessions set ended = greatest(began, lost_since), ended_by = 'unknown' where ended is null;
    end if;
    -- A clock that was set back makes no sessions that overlap.
    insert into presence_sessions (user_id, began, began_by, gaps)
      select u ->> 'userId', greatest(as_of, known), 'listing', era from jsonb_array_elements(batch -> 'users') u
      on conflict do nothing;
    if (batch ->> 'more') is null then
      update presence_unknown set ended = greatest(began, as_of) where ended is null;
      update presence_record set known_until = as_of;
    end if;
    return;
  end if;

  for change in
    select * from jsonb_to_recordset(batch -> 'changes')
      as c ("userId" text, status text, "timestamp" timestamptz, version bigint, reason text)
  loop
    known := greatest(known, change.timestamp);
    if change.status = 'online' then
      -- A page of a listing may have been read after the change.
      update presence_sessions
        set version = change.version, began = least(began, change.timestamp), began_by = change.reason
        where user_id = change."userId" and ended is null and version is null;
      if not found then
        insert into presence_sessions (user_id, began, began_by, version, gaps)
          values (change."userId", change.timestamp, change.reason, change.version, era)
          on conflict do nothing;
      end if;
    else
      delete from presence_sessions
        where user_id = change."userId" and ended is null and version is null and began >= change.timestamp;
      update presence_sessions
        set ended = greatest(began, change.timestamp), ended_by = change.reason
        where user_id = change."userId" and ended is null and (version is null or version < change.version);
    end if;
  end loop;
  -- Where more follows at once, other users may not be recorded up to here yet.
  if (batch ->> 'more') is null then
    update presence_record set known_until = known;
  end if;
end $$;

-- What a user was at a time: online, offline, or unknown. After the last recorded change it is what was known last.
create or replace function presence_at(id text, at timestamptz) returns text language sql stable as $$
  select case
    when exists (select from presence_sessions where user_id = id and began <= at and (ended is null or ended > at)) then 'online'
    when exists (select from presence_unknown where began <= at and (ended is null or ended > at)) then 'unknown'
    else 'offline'
  end
$$;
