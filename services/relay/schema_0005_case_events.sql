-- What becomes of a case after it was opened: its content changed, it closed, it opened again.
insert into bus.type (type, topic, gated, owners) values
    ('case.closed', 'cauce.case', false, '{gateway}'),
    ('case.updated', 'cauce.case', true, '{gateway}');
