-- id: health-rises
-- title: Batteries that a test found healthier than before
-- title-zh: 检测健康度反而上升的电池
-- clause: battery recycling rules, art. 11: tests are true; a battery does not get younger
-- clause-zh: 动力电池回收利用规则第十一条：检测结果应当真实，电池健康度不会自行上升
-- severity: medium
-- subject: battery_id
-- owner: owner
SELECT battery_id, owner, health_before, health, health_rises, changed_at
FROM recycling.battery
WHERE health_rises > :most
ORDER BY battery_id
