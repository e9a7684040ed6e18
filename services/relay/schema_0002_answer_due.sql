-- A referral that waits for somebody is told of: reminded, overdue, escalated.
insert into bus.type (type, topic, gated, owners) values
    ('referral.answer_due', 'cauce.case', false, '{referral}');
