-- id: rough-handling
-- title: Shocks harder than agreed
-- title-zh: 冲击超出约定范围
-- clause: carriage rules, art. 12: goods are handled with the care that was agreed
-- clause-zh: 货物运输规则第十二条：承运人应按约定谨慎装卸和运送货物
-- severity: medium
-- subject: excursion_id
-- owner: owner
SELECT excursion.excursion_id AS excursion_id,
       excursion.consignment AS consignment,
       excursion.owner AS owner,
       excursion.leg_number AS leg_number,
       excursion.value AS shock,
       consignment.shock_max AS most,
       excursion.started_at AS measured_at
FROM logistics.excursion AS excursion
JOIN logistics.consignment AS consignment
  ON consignment.consignment_id = excursion.consignment
WHERE excursion.metric = 'shock'
ORDER BY excursion.excursion_id
