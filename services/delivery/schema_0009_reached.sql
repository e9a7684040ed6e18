-- Whether anything of a referral may have reached its recipient: what was called, the intents say,
-- also where the task was taken back while the call was under way or its holder died.

create function delivery.reached(of_org text, ref uuid)
returns boolean
language sql stable
as $$
    select exists (
        select from delivery.task t
         where t.referral_ref = ref and t.to_org = of_org and t.kind = 'content'
           and (t.state = 'done' or t.doubtful or exists (
               select from delivery.intent i
                where i.case_ref = t.case_ref and i.to_org = t.to_org and i.task_id = t.task_id
                  and i.state in ('unknown', 'disclosed'))))
$$;
comment on function delivery.reached is 'Whether it came or may have come to this recipient.';

create or replace function delivery.withheld(of_org text, ref uuid)
returns boolean
language sql stable
as $$
    select coalesce(bool_and(t.state = 'suppressed'), false) and not delivery.reached(of_org, ref)
      from delivery.task t
     where t.referral_ref = ref and t.to_org = of_org and t.kind = 'content'
$$;
