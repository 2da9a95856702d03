-- Hours online in a month, of each user, and for how many hours of it nobody could know. $1 is a day of it; months are those of the time
-- zone of the connection.
with month as (
  select date_trunc('month', $1::timestamptz) as began, date_trunc('month', $1::timestamptz) + interval '1 month' as ended
),
unknown as (
  select coalesce(sum(extract(epoch from greatest(interval '0', least(u.ended, month.ended, now()) - greatest(u.began, month.began)))), 0) as seconds
  from presence_unknown u, month
  where u.began < month.ended and (u.ended is null or u.ended > month.began) and month.began < now()
)
select
  s.user_id,
  round((sum(extract(epoch from greatest(interval '0', least(s.ended, month.ended, now()) - greatest(s.began, month.began)))) / 3600)::numeric, 2) as hours,
  round((select seconds from unknown)::numeric / 3600, 2) as unknown_hours
from presence_sessions s, month
where s.began < month.ended and (s.ended is null or s.ended > month.began) and month.began < now()
group by s.user_id
order by s.user_id;
