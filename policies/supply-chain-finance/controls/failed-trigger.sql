-- id: failed-trigger
-- title: What the contract was to do by itself and could not
-- title-zh: 合约自动执行失败的事项
-- clause: supply chain finance rules, art. 16: what fails to run by itself is looked after by hand
-- clause-zh: 供应链金融规则第十六条：未能自动执行的事项应由人工处理
-- severity: high
-- subject: asset_key
-- each: trigger_name
SELECT triggered.key AS asset_key,
       triggered.name AS trigger_name,
       triggered.asset_type AS asset_type,
       COUNT(*) AS times,
       MAX(triggered.outcome) AS outcome,
       MIN(triggered.time) AS first_failed_at,
       MAX(triggered.time) AS last_failed_at
FROM ledger.triggered AS triggered
WHERE triggered.trigger_contract = 'supply-chain-finance'
  AND triggered.outcome <> 'accepted'
GROUP BY triggered.key, triggered.name, triggered.asset_type
ORDER BY triggered.key, triggered.name
