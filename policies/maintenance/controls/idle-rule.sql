-- id: idle-rule
-- title: Repair rules that do nothing: their device has another owner, or is out of service
-- title-zh: 因设备易主或停用而失效的报修规则
-- clause: maintenance rules, art. 4: a standing order is its owner's, for its own device
-- clause-zh: 设备维修规则第四条：自动报修授权仅由现所有者就其设备作出
-- severity: info
-- subject: rule_id
-- owner: owner
SELECT rule.rule_id AS rule_id,
       device.owner AS owner,
       rule.owner AS ordered_by,
       rule.device AS device,
       device.state AS device_state
FROM maintenance.rule AS rule
JOIN device_registry.device AS device ON device.device_id = rule.device
WHERE rule.state <> 'withdrawn'
  AND (device.owner <> rule.owner OR device.state <> 'active')
ORDER BY rule.rule_id
