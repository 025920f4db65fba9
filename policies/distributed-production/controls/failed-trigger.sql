-- id: failed-trigger
-- title: What the contract should have done by itself and could not
-- title-zh: 合约应自动执行而未能执行的事项
-- clause: joint production rules, art. 15: what was agreed to happen by itself happens
-- clause-zh: 协同生产规则第十五条：约定自动执行的事项应得到执行
-- severity: medium
-- subject: subject
SELECT name || ' ' || key AS subject,
       name AS fired,
       asset_type,
       key AS subject_key,
       COUNT(*) AS times,
       MAX(outcome) AS outcome,
       MIN(time) AS first_at
FROM ledger.triggered
WHERE trigger_contract = 'distributed-production' AND outcome <> 'accepted'
GROUP BY name, asset_type, key
ORDER BY name || ' ' || key
