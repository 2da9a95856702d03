-- Sessions: from when to when each user was online, and why a session ended. PostgreSQL 13 and later.
-- An id is kept as it is, but for a backslash and a NUL, which PostgreSQL cannot keep: they are \\ and \0.

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
  check (ended >= began)
);
create unique index if not exists presence_sessions_open on presence_sessions (user_id) where ended is null;
create unique index if not exists presence_sessions_version on presence_sessions (user_id, version);
create index if not exists presence_sessions_time on presence_sessions (user_id, began);

-- Spans in which nobody could know: before the record began, and where changes were lost.
create table if not exists presence_unknown (
  began timestamptz not null primary key,
  -- null while it lasts
  ended timestamptz
);

-- One row: the greatest token that a batch came with, and the time up to which every change is recorded.
create table if not exists presence_record (
  only_one boolean primary key default true check (only_one),
  token bigint not null default 0,
  known_until timestamptz not null default '-infinity'
);
insert into presence_record default values on conflict do nothing;

-- Records a batch. One call is one transaction: all of it is recorded, or nothing.
create or replace function presence_record_batch(batch jsonb, fence bigint) returns void language plpgsql as $$
declare
  change record;
  as_of timestamptz := batch ->> 'asOf';
  known timestamptz;
  lost_since timestamptz;
begin
  -- It also waits for a batch that is being recorded.
  update presence_record set token = fence where token <= fence returning known_until into known;
  if not found then
    raise exception 'token % is of a router that has lost the delivery', fence;
  end if;

  if (batch ->> 'gap')::boolean then
    if (batch ->> 'part')::int = 0 then
      select began into lost_since from presence_unknown where ended is null;
      if not found then
        lost_since := known;
        insert into presence_unknown (began) values (known)
          on conflict (began) do update set ended = null;
      end if;
      -- Those of a listing that was not completed.
      delete from presence_sessions where ended is null and began > lost_since;
      update presence_sessions set ended = greatest(began, lost_since), ended_by = 'unknown' where ended is null;
    end if;
    insert into presence_sessions (user_id, began, began_by)
      select u ->> 'userId', as_of, 'listing' from jsonb_array_elements(batch -> 'users') u
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
        insert into presence_sessions (user_id, began, began_by, version)
          values (change."userId", change.timestamp, change.reason, change.version)
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
