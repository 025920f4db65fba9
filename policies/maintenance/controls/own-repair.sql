-- id: own-repair
-- title: Repairs of one's own device, borne by an insurer
-- title-zh: 自修自验且由保险承担的工单
-- clause: maintenance rules, art. 14: nobody confirms its own work at another's cost
-- clause-zh: 设备维修规则第十四条：不得自修自验而由他人承担费用
-- severity: high
-- subject: order_id
-- owner: company
SELECT order_id, company, insurer, device, total, insurer_share
FROM maintenance.work_order
WHERE company = owner
  AND state IN ('confirmed', 'settled')
  AND insurer_share > 0
ORDER BY order_id
